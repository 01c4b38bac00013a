"""Reading image files of every kind."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from watson_jax.image_files import image_size, read_image

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (9, 7, 4), np.uint8)
RGB = BYTES[..., :3]


def png16(path, array, color_type):
    """Pillow writes no colour with 16 bits."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    height, width = array.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
            for t, d in chunks
        )
    )


def expect(path, values, **options):
    found = read_image(path, **options)
    assert found.dtype == np.float32
    assert image_size(path) == found.shape[:2]
    np.testing.assert_allclose(found, np.broadcast_to(values, found.shape), atol=1e-6)


def test_eight_bits(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    expect(path, RGB / 255)
    Image.fromarray(RGB[..., 0]).save(path)
    expect(path, RGB[..., :1] / 255)
    palette = Image.fromarray(RGB).quantize(8)
    palette.save(path)
    expect(path, np.asarray(palette.convert("RGB")) / 255)
    Image.fromarray(RGB[..., 0] > 99).save(path)
    expect(path, RGB[..., :1] > 99)


@pytest.mark.parametrize(("channels", "color_type"), [(1, 0), (3, 2), (4, 6)])
def test_sixteen_bits_are_kept(channels, color_type, tmp_path):
    values = RNG.integers(0, 2**16, (9, 7, channels))
    png16(tmp_path / "a.png", values, color_type)
    expected = values / 65535
    if channels == 4:
        expected = expected[..., :3] * expected[..., 3:]
    expect(tmp_path / "a.png", expected, background="black")


def test_transparency_shows_the_background(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(BYTES).save(path)
    alpha = BYTES[..., 3:] / 255
    expect(path, RGB / 255 * alpha + (1 - alpha))
    expect(path, RGB / 255 * alpha + np.array([0, 0, 1]) * (1 - alpha), background="#00f")
    whole = Image.fromarray(np.zeros((9, 7), np.uint8), "P")
    whole.putpalette([10, 20, 30])
    whole.save(path, transparency=0)
    expect(path, 1)


def test_cmyk_and_rotation(tmp_path):
    path = tmp_path / "a.tif"
    image = Image.fromarray(RGB).convert("CMYK")
    image.save(path)
    expect(path, np.asarray(image.convert("RGB")) / 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.fromarray(RGB).save(tmp_path / "b.png", exif=exif)
    expect(tmp_path / "b.png", np.rot90(RGB, -1) / 255)


@pytest.mark.parametrize("read", [read_image, image_size])
def test_images_that_may_be_bombs_are_one_sentence(read, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(
        ValueError, match=r"a\.png is no readable image: Image size .* exceeds limit"
    ):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, image_size])
def test_damaged_exif_is_one_sentence(read, tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0")
    with pytest.raises(ValueError, match=r"a\.png is no readable image: it is damaged\.$"):
        read(tmp_path / "a.png")


def test_what_cannot_be_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.png is no readable image: its format is unknown\.$"):
        read_image(path)
    with pytest.raises(ValueError, match=r"a\.png is no readable image"):
        image_size(path)
    Image.fromarray(RNG.integers(0, 256, (99, 99, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r"a\.png is no readable image: it is damaged\.$"):
        read_image(path)
    Image.fromarray(np.zeros((3, 3), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="it has 32 bits, and 8 or 16 are known"):
        read_image(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"^`background` must be a colour .*, got 'blurple'\.$"):
        read_image(path, background="blurple")
    for read in (read_image, image_size):
        with pytest.raises(FileNotFoundError, match=r"none\.png is no file"):
            read(tmp_path / "none.png")
