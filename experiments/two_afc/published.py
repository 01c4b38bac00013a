"""The 2AFC scores that the paper's authors published for BAPPS's validation categories (figure 6)."""

CATEGORIES = ("traditional", "cnn", "superres", "deblur", "color", "frameinterp")

# From SteffenCzolbe/PerceptualSimilarity, src/perceptual_sim_training/eval_results.p, in the order of
# CATEGORIES. All but L1, L2 and SSIM were fitted to BAPPS's training records; SSIM here is not the
# authors' loss, but scikit-image's on bytes.
SCORES = {
    "rgb": {
        "l1": (0.5727, 0.7882, 0.6481, 0.5830, 0.6272, 0.5764),
        "l2": (0.5538, 0.7949, 0.6538, 0.5897, 0.6285, 0.5517),
        "ssim": (0.5924, 0.7883, 0.6454, 0.5881, 0.5674, 0.5671),
        "adaptive": (0.5882, 0.7960, 0.6391, 0.5852, 0.6330, 0.5408),
        "watson-dct": (0.6267, 0.8079, 0.6169, 0.5612, 0.6122, 0.5298),
        "watson-dft": (0.6871, 0.8152, 0.6674, 0.5778, 0.6041, 0.6048),
        "lpips-squeeze": (0.7601, 0.8349, 0.7092, 0.6087, 0.6511, 0.6293),
        "lpips-vgg": (0.7629, 0.8301, 0.7029, 0.6001, 0.6343, 0.6332),
    },
    "gray": {
        "l1": (0.5525, 0.7606, 0.6486, 0.5831, 0.5336, 0.5716),
        "l2": (0.5318, 0.7670, 0.6535, 0.5904, 0.5399, 0.5493),
        "ssim": (0.5707, 0.7665, 0.6453, 0.5888, 0.5144, 0.5643),
        "adaptive": (0.5318, 0.7711, 0.6511, 0.5897, 0.5367, 0.5422),
        "watson-dct": (0.5773, 0.7684, 0.6286, 0.5795, 0.5336, 0.5449),
        "watson-dft": (0.6390, 0.7801, 0.6763, 0.5918, 0.5317, 0.6000),
        "lpips-squeeze": (0.7261, 0.7799, 0.7006, 0.6046, 0.5368, 0.6234),
        "lpips-vgg": (0.7296, 0.7722, 0.6948, 0.5996, 0.5315, 0.6272),
    },
}


def published_scores(loss: str, color: str) -> dict[str, float] | None:
    """A loss's published score in each category, from 0 to 1; None if there is none."""
    scores = SCORES[color].get(loss)
    return None if scores is None else dict(zip(CATEGORIES, scores, strict=True))
