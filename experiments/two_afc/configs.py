"""Configurations of fitting losses to human judgements.

`default` is how the packaged Watson weights were made; it needs no download. For Watson-DFT, add
`--set=pooling_range=1.5,1.5` in colour and `--set=pooling_range=1.2,1.2` in grey.
    python -m experiments.two_afc.main --loss=watson-dct --color=rgb    # 6 minutes on 2 CPU cores
`paper` is the authors' schedule on BAPPS (their figure 6).
    python -m experiments.two_afc.main --preset=paper --bapps_dir=DIR
`paper-lpips` is the one for LPIPS's linear weights; it starts from LPIPS's own, already fitted to BAPPS.
    python -m experiments.two_afc.main --preset=paper-lpips --loss=lpips-vgg --bapps_dir=DIR
`csv` is for own judgements, few or many: a longer fit that starts from the loss's default weights.
    python -m experiments.two_afc.main --data=csv --csv=FILE
`smoke` shows that everything runs.
    python -m experiments.two_afc.main --preset=smoke                   # half a minute
"""

import dataclasses
from typing import Any

import watson_jax as wj
from experiments._common.cli import UserError, check_choice, check_numbers, user_errors
from experiments.two_afc.data import DATA_NAMES, CsvTable, check_bapps_dir, csv_table
from watson_jax.losses import check_floor


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """One fit: all combinations of seeds and learning rates, as trials side by side.

    Attributes:
      data: "photos-2afc", "bapps" or "csv".
      bapps_dir: folder of the unpacked BAPPS archives.
      csv: file of own judgements, see `watson_jax.datasets.csv_files`; opinion scores become pairs.
      csv_size: side of the square that is made of each image; None: images as they are.
      csv_fit: how: "crop" or "resize".
      csv_lower_is_better: whether lower scores are better.
      color: "rgb" or "gray".
      loss: name of the loss.
      weights: where to start; "initial", another kind or a file. None: what suits the loss and the data.
      luminance: "image", or "batch" as in the authors' fit.
      mask_chroma: whether the Watson losses' luminance masking works on Cb and Cr too, as in the paper;
        where it does, a fit may let the loss grow without bound on saturated colours.
      luminance_floor: lower bound of the Watson losses' brightness ratio, in the fitted set; 0: none;
        None: that of the weights where the fit starts.
      phase_floor: amplitude below which Watson-DFT fades phases out, likewise.
      pooling_range: bounds on the Watson losses' p; None: any. Outside of 1 to 2.5 they train poorly.
      luma_gain: added to the Watson losses' logit of Y in colour, after a fit.
      detail_gain: taken from their log-thresholds of Y in colour after a fit, in proportion to the
        frequency.
      dc_gain: taken from those of DC (the blocks' means) of all channels in colour after a fit, so that
        models learn brightness and colours sooner.
      phase_scale: what Watson-DFT's phase weights and floor are multiplied by in colour after a fit.
        Models learn better from a loss with all four, at the cost of some agreement.
      seed: of the first trial, and of the order of the triplets, which all trials share.
      seeds: number of seeds; each has its own dropout and starting values.
      learning_rates: Adam's, at the start.
      start_noise: standard deviation of what a seed adds to each starting value.
      dropout: whether the Watson losses drop half of their terms, as the authors' do.
      ranking: how two distances become a choice: by "gamma" (eq. 11), or by LPIPS's small "network".
      schedule: "cosine", or "linear" for the authors': constant, then falling in equal parts.
      decay_epochs: how many of the epochs fall, with "linear".
      epochs: passes over the data.
      batch_size: triplets in a step.
      triplets: use only so many triplets of each part of the data; None: all.
    """

    data: str = "photos-2afc"
    bapps_dir: str | None = None
    csv: str | None = None
    csv_size: int | None = None
    csv_fit: str = "crop"
    csv_lower_is_better: bool = False
    color: str = "rgb"
    loss: str = "watson-dft"
    weights: str | None = None
    luminance: str = "image"
    mask_chroma: bool = False
    luminance_floor: float | None = 0.1
    phase_floor: float | None = 0.2
    pooling_range: tuple[float, float] | None = (2.0, 2.5)
    luma_gain: float = 0.3
    detail_gain: float = 2.0
    dc_gain: float = 0.5
    phase_scale: float = 0.5
    seed: int = 0
    seeds: int = 3
    learning_rates: tuple[float, ...] = (3e-3,)
    start_noise: float = 0.05
    dropout: bool = True
    ranking: str | None = None
    schedule: str = "cosine"
    decay_epochs: int = 0
    epochs: int = 12
    batch_size: int = 50
    triplets: int | None = None

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice("--data", self.data, DATA_NAMES)
        _ = self.table  # which checks its fields
        check_bapps_dir(self.data, self.bapps_dir)
        check_choice("--color", self.color, ("rgb", "gray"))
        check_choice("luminance", self.luminance, ("image", "batch"))
        check_choice("schedule", self.schedule, ("cosine", "linear"))
        with user_errors(rename={"`name`": "--loss"}):
            object.__setattr__(self, "loss", wj.loss_info(self.loss).name)
            for name in ("luminance_floor", "phase_floor"):
                if getattr(self, name) is not None:
                    check_floor(name, getattr(self, name))
        if wj.loss_info(self.loss).fittable is None:
            raise UserError(f"--loss must be one with parameters, got {self.loss!r}.")
        check_choice("ranking", self.ranking_kind, ("gamma", "network"))
        for name in ("seeds", "epochs", "batch_size", "triplets", "csv_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, got {value}.")
        if self.seed + self.seeds > 2**31:
            raise UserError(f"seed must be below 2**31 with all seeds, got {self.seed}.")
        if self.phase_scale <= 0:
            raise UserError(f"phase_scale must be above 0, got {self.phase_scale}.")
        for name in ("seed", "start_noise", "decay_epochs"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must be at least 0, got {getattr(self, name)}.")
        if (
            self.pooling_range is not None
            and not 0 < self.pooling_range[0] <= self.pooling_range[1]
        ):
            raise UserError(
                f"pooling_range must be two numbers above 0 in order, got {self.pooling_range}."
            )
        if self.decay_epochs > self.epochs:
            raise UserError(
                f"decay_epochs must be at most epochs, {self.epochs}, got {self.decay_epochs}."
            )
        if not all(rate > 0 for rate in self.learning_rates):
            raise UserError(f"learning_rates must be above 0, got {self.learning_rates}.")
        if len({f"{rate:g}" for rate in self.learning_rates}) < len(self.learning_rates):
            raise UserError(f"learning_rates must differ, got {self.learning_rates}.")

    @property
    def table(self) -> CsvTable | None:
        """The file of own judgements."""
        return csv_table(self.data, self.csv, self.csv_size, self.csv_fit, self.csv_lower_is_better)

    @property
    def ranking_kind(self) -> str:
        """`ranking`, or what suits the loss."""
        return self.ranking or wj.loss_info(self.loss).fit_ranking

    @property
    def starting_weights(self) -> str:
        """`weights`, or where a fit starts: at the default weights for own judgements, often few."""
        info = wj.loss_info(self.loss)
        default = info.default_weights if self.data == "csv" else info.fit_from
        return self.weights or default or info.fit_from

    @property
    def trials(self) -> list[tuple[int, float]]:
        """(seed, learning rate) of each trial."""
        return [
            (seed, rate)
            for rate in self.learning_rates
            for seed in range(self.seed, self.seed + self.seeds)
        ]


_PAPER: dict[str, Any] = {
    "data": "bapps",
    "seeds": 1,
    "start_noise": 0.0,
    "mask_chroma": True,
    "luminance_floor": 0.0,
    "phase_floor": 0.0,
    "pooling_range": None,
    "luma_gain": 0.0,
    "detail_gain": 0.0,
    "dc_gain": 0.0,
    "phase_scale": 1.0,
    "schedule": "linear",
}

PRESETS = {
    "default": FitConfig(),
    "paper": FitConfig(**_PAPER, learning_rates=(2e-4,), epochs=20, decay_epochs=10),
    "paper-lpips": FitConfig(
        **_PAPER, loss="lpips-squeeze", learning_rates=(1e-4,), epochs=10, decay_epochs=5
    ),
    "csv": FitConfig(
        luminance_floor=None,
        phase_floor=None,
        pooling_range=(1.0, 2.5),
        luma_gain=0.0,
        detail_gain=0.0,
        dc_gain=0.0,
        phase_scale=1.0,
        epochs=60,
    ),
    "smoke": FitConfig(seeds=2, epochs=2, triplets=100),
}
