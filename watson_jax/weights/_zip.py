"""Zip archives of uncompressed members, the container of `.npz` and of newer `.pth` files."""

import io
import zipfile
from collections.abc import Callable

from watson_jax.weights._errors import MalformedError
from watson_jax.weights._limits import MAX_MEMBERS

_ENTRY = b"PK\1\2"  # begins each member's entry in the directory


def read_members(
    data: bytes, wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, bytes]:
    """Returns the members of a zip archive by name.

    Nothing is extracted and nothing is inflated: both formats store their members as they are, so a
    compressed member is refused, and all members together are at most as long as the archive.

    Args:
      data: the bytes of the archive.
      wanted: whether to read the member of this name; the others are only checked.

    Returns:
      The bytes of each wanted member, checked against its CRC-32.

    Raises:
      MalformedError: if the archive is damaged, or holds anything these formats never hold.
    """
    if data.count(_ENTRY) > MAX_MEMBERS:  # before `zipfile`, which makes an object of each
        raise MalformedError(f"its zip archive holds more than {MAX_MEMBERS} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, len(data))
            return {m.filename: archive.read(m) for m in members if wanted(m.filename)}
    except MalformedError:
        raise
    except Exception:  # zipfile raises a dozen types, from BadZipFile to struct.error
        raise MalformedError("its zip archive is cut short or damaged") from None


def check_member_name(name: str) -> None:
    """Raises `MalformedError` unless `name` is a plain relative path."""
    if not {"", ".", ".."}.isdisjoint(name.split("/")) or "\\" in name or "\0" in name:
        raise MalformedError(f"the name {name[:80]!a} is not a plain relative path")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    names = {member.filename for member in members}
    if len(names) < len(members):
        raise MalformedError("its zip archive holds two members of the same name")
    for member in members:
        check_member_name(member.orig_filename)
        if member.flag_bits & 0x1:
            raise MalformedError("its zip archive is encrypted")
        if member.compress_type != zipfile.ZIP_STORED:
            raise MalformedError("its zip archive is compressed")
    # Members that overlap, or lie about their size, would otherwise multiply a small file.
    if sum(max(member.file_size, member.compress_size) for member in members) > size:
        raise MalformedError("its zip archive claims more bytes than it has")
