"""Images of any kind and size, brought to one format once and then taken from the cache."""

import contextlib
import dataclasses
import functools
import gzip
import io
import json
import lzma
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePath
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from watson_jax.datasets.decoding import check_space, in_parallel, made_once, write_header
from watson_jax.files import atomic_write, first_few
from watson_jax.image_files import SUFFIXES

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")

CHANNELS = {"rgb": 3, "gray": 1}

_VERSION = 3  # of what is cached: to be raised when something else comes out of the same files
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError,
)  # fmt: skip

Entry = tuple[str, Callable[[], bytes]]
"""A name to show, and what reads the encoded image."""

Contents = tuple[int, Iterable[Entry]]
"""The number of images and, one after the other, the images."""

Decoded = tuple[UInt8[np.ndarray, "number height width channels"], list[str]]
"""Images, mapped into memory from the cache, and their names: paths within the folder or archive."""


@dataclasses.dataclass(frozen=True)
class Format:
    """What is made of each image.

    Attributes:
      crop: left, top, right and bottom of the part to keep, in pixels; None: the largest square in the
        middle.
      image_size: height and width to which that part is brought.
      color: "rgb" or "gray".
    """

    crop: tuple[int, int, int, int] | None = None
    image_size: int = 64
    color: str = "rgb"

    def __post_init__(self) -> None:
        if self.crop is not None and not _is_box(self.crop):
            raise ValueError(
                "crop must be left,top,right,bottom with 0 <= left < right and 0 <= top < bottom, got "
                f"{','.join(map(str, self.crop))}."
            )
        if self.image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {self.image_size}.")
        if self.color not in CHANNELS:
            raise ValueError(f"color must be one of {', '.join(CHANNELS)}, got {self.color!r}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, `(height, width, channels)`."""
        return self.image_size, self.image_size, CHANNELS[self.color]


def read_folder(path: Path, image_format: Format) -> Decoded:
    """Reads the images in a folder and its subfolders, or in a .zip or .tar(.gz) archive.

    Folders are read in the order of names, archives in their own, in memory, without unpacking them.
    Hidden files and what is no image by its name are passed over. Images that cannot be read are left
    out, and counted and the first of them named on stderr. Transparent parts become white.

    Args:
      path: of the folder or archive.
      image_format: what to make of each image.

    Returns:
      The images and their names.

    Raises:
      ValueError: if there are fewer than 2 usable images, or an archive is damaged or none.
      OSError: if the path does not exist, or the cache cannot be written.
    """
    path = path.expanduser()
    if path.is_dir():
        return _read_folder(path.resolve(), image_format)
    if not path.exists():
        raise FileNotFoundError(
            f"--data_dir must be a folder, .zip or .tar(.gz) of images, got {str(path)!r}, which does "
            "not exist."
        )
    if tarfile.is_tarfile(path):
        open_contents: Callable[[Path], AbstractContextManager[Contents]] = _open_tar
    elif zipfile.is_zipfile(path):
        open_contents = _open_zip
    else:
        raise ValueError(
            f"--data_dir must be a folder, .zip or .tar(.gz) of images, got {str(path)!r}, which is "
            "none of these, or damaged."
        )
    # Listing a large compressed archive takes minutes; size and time tell as much.
    identity = [str(path.resolve()), describe_file(path)]
    return decode_once("folder", path, identity, image_format, lambda: open_contents(path))


def decode_once(
    name: str,
    path: Path,
    identity: Sequence[str],
    image_format: Format,
    open_contents: Callable[[], AbstractContextManager[Contents]],
) -> Decoded:
    """Returns images from the cache, after decoding them if they are not there.

    Args:
      name: of the data set.
      path: where it lies, for messages.
      identity: what it consists of; if this or the format changes, everything is decoded anew.
      image_format: what to make of each image.
      open_contents: called only if there is nothing in the cache, for the images and their number.
    """
    folder = made_once(
        name,
        [str(_VERSION), repr(image_format), *identity],
        functools.partial(_make, name, path, image_format, open_contents),
    )
    images = np.load(folder / "images.npy", mmap_mode="r")
    names, skipped = json.loads((folder / "names.json").read_text())
    if skipped:
        total = len(images) + len(skipped)
        print(f"Skipped {len(skipped)} of {total} images: {first_few(skipped)}.", file=sys.stderr)
    return images, names


def describe_file(path: Path) -> str:
    """Tells a file from a later one of the same name."""
    status = path.stat()
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"


def _make(
    name: str,
    path: Path,
    image_format: Format,
    open_contents: Callable[[], AbstractContextManager[Contents]],
    folder: Path,
    file: BinaryIO,
) -> None:
    names: list[str] = []
    skipped: list[str] = []
    with open_contents() as (number, entries):
        check_space(folder, number * int(np.prod(image_format.shape)))
        write_header(file, (number, *image_format.shape))
        decode = functools.partial(_decode_entry, image_format)
        for entry, pixels, problem in in_parallel(
            decode, entries, number=number, name=f"{name}, once", unit="images"
        ):
            if problem:
                skipped.append(f"{entry} ({problem})")
            else:
                file.write(pixels)
                names.append(entry)
    usable = len(names)
    if usable < 2:  # one to train on and one to hold out
        why = f"not {first_few(skipped)}" if skipped else f"looked for {', '.join(SUFFIXES)}"
        raise ValueError(
            f"--data_dir must hold at least 2 usable images, got {usable} in {str(path)!r}: {why}."
        )
    file.seek(0)
    write_header(file, (usable, *image_format.shape))
    with atomic_write(folder / "names.json") as names_file:
        names_file.write(json.dumps([names, skipped]).encode())


class _UnusableError(Exception):
    """The image is sound, but nothing right can be made of it."""


def _decode_entry(image_format: Format, entry: Entry) -> tuple[str, bytes, str]:
    """Returns the name and the pixels, or no pixels and the reason."""
    name, read = entry
    try:
        return name, _decode(read(), image_format), ""
    except Exception as error:  # which one depends on where a file is damaged
        reason = str(error) if isinstance(error, _UnusableError) else "no readable image"
        return name, b"", reason


def _decode(content: bytes, image_format: Format) -> bytes:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as file:
        image = ImageOps.exif_transpose(file)  # as cameras want it shown
        if image.mode.startswith(("I", "F")):
            raise _UnusableError(f"more than 8 bits, mode {image.mode}")
        if image_format.crop is None:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            box = (left, top, left + side, top + side)
        else:
            box = image_format.crop
            if box[2] > image.width or box[3] > image.height:
                raise _UnusableError(f"{image.width}x{image.height} is too small for the crop")
        part = image.crop(box)
        if part.has_transparency_data:  # else the colours that nobody sees would come out
            part = part.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part)
        part = part.convert("L" if image_format.color == "gray" else "RGB")
        return part.resize((image_format.image_size,) * 2, Image.Resampling.BILINEAR).tobytes()


def _is_box(crop: Sequence[int]) -> bool:
    return len(crop) == 4 and 0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]


def _has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether the file is of one of these kinds, and not hidden."""
    # macOS adds a hidden "._NAME.jpg" for each "NAME.jpg" in an archive.
    is_hidden = any(part.startswith(".") for part in PurePath(name).parts)
    return name.lower().endswith(suffixes) and not is_hidden


def _read_folder(folder: Path, image_format: Format) -> Decoded:
    files = []
    for parent, _, inside in os.walk(folder):
        subfolder = Path(parent).relative_to(folder)
        files += [str(subfolder / file) for file in inside]
    # No pipes, at which reading would wait.
    names = sorted(
        name for name in files if _has_suffix(name, SUFFIXES) and (folder / name).is_file()
    )
    archives = sorted(name for name in files if _has_suffix(name, _ARCHIVES))
    if archives and not names:
        raise ValueError(
            f"--data_dir must be a folder, .zip or .tar(.gz) of images, got {str(folder)!r}, which "
            f"holds no images but an archive; if they are in it, name {str(folder / archives[0])!r}."
        )

    @contextlib.contextmanager
    def open_contents() -> Iterator[Contents]:
        yield len(names), ((name, (folder / name).read_bytes) for name in names)

    listing = (f"{os.path.dirname(name)} {describe_file(folder / name)}" for name in names)
    return decode_once("folder", folder, [str(folder), *listing], image_format, open_contents)


@contextlib.contextmanager
def _open_zip(path: Path) -> Iterator[Contents]:
    with _whole(path), zipfile.ZipFile(path) as archive:
        members = [
            member for member in archive.infolist() if _has_suffix(member.filename, SUFFIXES)
        ]
        yield (
            len(members),
            ((member.filename, functools.partial(archive.read, member)) for member in members),
        )


@contextlib.contextmanager
def _open_tar(path: Path) -> Iterator[Contents]:
    with _whole(path), tarfile.open(path) as archive:
        members = [m for m in archive.getmembers() if m.isfile() and _has_suffix(m.name, SUFFIXES)]
        _check_end(archive)
        yield len(members), (_read_member(archive, member) for member in members)


def _check_end(archive: tarfile.TarFile) -> None:
    """Finds the block of zeros that ends each archive; `tarfile` takes any other end for it."""
    file = archive.fileobj
    assert file is not None
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it does not end as it should")


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    # Read at once, one after the other: a compressed archive cannot be read at random.
    file = archive.extractfile(member)
    content = file.read() if file else b""
    return str(PurePath(member.name)), lambda: content


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """One sentence for an archive that ends early or is not what it seems."""
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(
            f"--data_dir={path} is damaged or cut short ({error}); fetch it again."
        ) from error
