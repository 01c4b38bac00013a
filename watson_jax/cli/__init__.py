"""The command `watson-jax`: compares image files, lists the losses and fetches their weights."""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from watson_jax._version import __version__
from watson_jax.files import atomic_write, plain, sentence


class UsageError(Exception):
    """A wrong argument; the text is one sentence."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
      argv: its arguments; None: those of this process.

    Returns:
      The exit status: 0 if all went well; 1 if an image, a download or a file failed; 2 for wrong
      arguments. Errors are one sentence on stderr.
    """
    try:
        args, unknown = _parser().parse_known_args(argv)
        if unknown:
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        args.run(args)
        sys.stdout.flush()
    except UsageError as error:
        return _failed(str(error), 2)
    except BrokenPipeError:  # as in `watson-jax list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _failed("Interrupted.", 130)
    except (ValueError, ImportError, OSError) as error:
        return _failed(sentence(error), 1)
    return 0


def _failed(text: str, status: int) -> int:
    print(f"error: {plain(' '.join(text.split()), most=2000)}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="watson-jax", description="Perceptual distances of images.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="compare|list|fetch")

    compare = commands.add_parser(
        "compare",
        help="compare image files",
        description="Compares two images, or the images of two folders that have the same name apart "
        "from the suffix. Distances are >= 0 for most losses, and larger for images that differ more.",
    )
    compare.set_defaults(run=_run_compare, parser=compare)
    compare.add_argument("image", type=pathlib.Path, help="distorted image, or a folder of them")
    compare.add_argument("reference", type=pathlib.Path, help="original image, or a folder of them")
    compare.add_argument(
        "--all-pairs", action="store_true", help="each image with each reference, whatever the name"
    )
    compare.add_argument(
        "--loss", action="append", metavar="NAME[:WEIGHTS][,…]",
        help="one or several losses, by default watson-dft; `watson-jax list` names them",
    )  # fmt: skip
    compare.add_argument(
        "--weights", help="kind of weights or a file, for losses without their own"
    )
    compare.add_argument(
        "--backbone", help="for LPIPS: torchvision's state dict in a file you trust"
    )
    compare.add_argument("--color", choices=("rgb", "gray"), default="rgb")
    compare.add_argument(
        "--background", default="white", help="colour behind transparent parts, by default white"
    )
    compare.add_argument("--format", choices=("table", "csv", "json"), default="table")
    compare.add_argument(
        "--map", type=pathlib.Path, metavar="OUT",
        help="draw where the images differ: a .png file for one pair, else a folder",
    )  # fmt: skip

    listing = commands.add_parser("list", help="list the losses, their weights and licences")
    listing.set_defaults(run=_run_list, parser=listing)
    listing.add_argument("--format", choices=("table", "csv", "json"), default="table")

    fetch = commands.add_parser(
        "fetch",
        help="fetch weights ahead of time",
        description="Fetches published weights into the cache, or into a folder for a machine without "
        "a network, where WATSON_JAX_WEIGHTS_DIR is to name it.",
    )
    fetch.set_defaults(run=_run_fetch, parser=fetch)
    fetch.add_argument("loss", nargs="*", metavar="NAME[:WEIGHTS]", help="losses")
    fetch.add_argument("--all", action="store_true", help="everything there is, 0.8 GB")
    fetch.add_argument("--to", type=pathlib.Path, metavar="DIR", help="a folder for copies")
    return parser


def _run_compare(args: argparse.Namespace) -> None:
    from watson_jax.cli._compare import compare_files

    compare_files(args)


def _run_list(args: argparse.Namespace) -> None:
    import watson_jax as wj
    from watson_jax.cli._output import write_records

    records: list[dict[str, Any]] = []
    for name in wj.list_losses():
        spec = wj.loss_info(name)
        records.append(
            {
                "loss": name,
                "what": spec.summary,
                "sides": f">= {spec.min_size}",
                "weights": " ".join(sorted(spec.weights, key=lambda k: k != spec.default_weights)),
                "downloads": " ".join(spec.downloads),
                "licence of downloads": spec.licence or "",
            }
        )
    write_records(records, args.format)
    if args.format == "table":
        print("\nThe first kind of weights is the default. `watson-jax fetch NAME` downloads.")


def _run_fetch(args: argparse.Namespace) -> None:
    import watson_jax as wj
    from watson_jax.weights import fetch

    if bool(args.loss) == args.all:
        raise UsageError("fetch must be given names of losses or --all, see `watson-jax list`.")
    files: dict[str, None] = {}
    for given in args.loss or wj.list_losses():
        name, _, kind = given.partition(":")
        spec = find_loss(name)
        if kind and kind not in spec.downloads:
            kinds = ", ".join(spec.downloads) or "none"
            raise UsageError(
                f"fetch must name weights of {name} to download ({kinds}), got {kind!r}."
            )
        if args.loss and not spec.downloads:
            print(f"{name} needs no download.", file=sys.stderr)
        for one in [kind] if kind else spec.downloads:
            files |= {
                file.format(color=c): None for file in spec.downloads[one] for c in ("rgb", "gray")
            }
    for file in files:
        path = fetch(file)
        if args.to is not None:
            copy = args.to.expanduser() / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not (copy.exists() and copy.samefile(path)):
                with atomic_write(copy) as target, open(path, "rb") as source:
                    shutil.copyfileobj(source, target)
            path = copy
        print(path)


def find_loss(name: str) -> Any:
    """`watson_jax.loss_info`, with the sentence about a wrong argument."""
    import watson_jax as wj

    try:
        return wj.loss_info(name)
    except ValueError as error:
        raise UsageError(str(error).replace("`name`", "The loss")) from None
