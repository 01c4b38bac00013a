"""What every experiment's command line shares: one-sentence errors and typed overrides."""

import contextlib
import dataclasses
import difflib
import math
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from absl import app, flags, logging

from watson_jax.files import plain, sentence

Config = TypeVar("Config")


class UserError(ValueError):
    """Something that the person at the keyboard can put right; the text is one sentence."""


@contextlib.contextmanager
def user_errors(*, rename: dict[str, str] | None = None) -> Iterator[None]:
    """Turns errors raised on purpose (bad names, unreadable files) into `UserError`.

    Wrap only set-up code with it: in code that computes, a `TypeError` is a bug and wants its
    traceback.

    Args:
      rename: words to replace in the sentence, such as an argument's name by the flag's.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, ImportError, OSError) as error:
        text = sentence(error)
        for old, new in (rename or {}).items():
            text = text.replace(old, new)
        raise UserError(text) from error


def check_numbers(config: Any) -> None:
    """Raises a `UserError` unless the numbers of a configuration can be computed with."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"{field.name} must be finite, got {number}.")
            if isinstance(number, int) and abs(number) >= 2**31:
                raise UserError(f"{field.name} must be below 2**31, got {number}.")


def check_given(values: flags.FlagValues) -> None:
    """Raises a `UserError` for a flag without a value, which would else stand for its default."""
    for name in values:
        if values[name].present and values[name].value in ("", []):
            raise UserError(f"--{name} must have a value, got none; leave it out for its default.")


def check_choice(flag: str, value: str, choices: Iterable[str]) -> None:
    """Raises a `UserError` that names the flag, the choices and the nearest one."""
    choices = list(choices)
    if value in choices:
        return
    nearest = difflib.get_close_matches(value, choices, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise UserError(f"{flag} must be one of {', '.join(choices)}, got {value!r}{hint}")


def override(config: Config, assignments: Sequence[tuple[str, str, str]]) -> Config:
    """Replaces fields of a configuration by values given as text.

    Args:
      config: a frozen dataclass.
      assignments: (flag that the person wrote, field, text), in order.

    Raises:
      UserError: for an unknown field or a text that is no value of the field's type.
    """
    types = typing.get_type_hints(type(config))
    values: dict[str, Any] = {}
    for flag, field, text in assignments:
        check_choice(f"The field of {flag.partition('=')[0]}", field, types)
        values[field] = _parse(flag, types[field], text)
    try:
        return dataclasses.replace(config, **values)  # type: ignore[type-var]
    except UserError as error:
        flag_of = {field: flag for flag, field, _ in assignments}
        name, space, rest = str(error).partition(" ")
        raise UserError(flag_of.get(name.strip("`"), name) + space + rest) from None


def split_assignments(flag: str, texts: Iterable[str]) -> list[tuple[str, str, str]]:
    """Splits `field=value` texts of a repeated flag for `override`."""
    result = []
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{flag} needs field=value, such as batch_size=64, got {text!r}.")
        result.append((f"{flag}={field}", field.strip(), value.strip()))
    return result


def whole_numbers(flag: str, texts: Sequence[str]) -> tuple[int, ...]:
    """The values of a list flag as integers."""
    try:
        return tuple(int(text) for text in texts)
    except ValueError:
        raise UserError(f"{flag} must be whole numbers, got {','.join(texts)!r}.") from None


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; errors of use end the process with status 2."""

    def parse(argv: Sequence[str]) -> Sequence[str]:
        try:
            rest = flags.FLAGS(argv)
        except flags.Error as error:
            _exit(_of_flags(str(error)))
        if len(rest) > 1:
            _exit(f"Unexpected argument {rest[1]!r}: options are written --name=value.")
        return rest

    def guarded(_: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:  # absl would show every library's INFO
            logging.set_verbosity(logging.WARNING)
        try:
            check_given(flags.FLAGS)
            main()
        except UserError as error:
            _exit(str(error))
        except OSError as error:  # a full disk, a folder that vanished
            _exit(sentence(error))
        except KeyboardInterrupt:
            _exit("Interrupted.", status=130)

    app.run(guarded, flags_parser=parse)


def _parse(flag: str, kind: Any, text: str) -> Any:
    if not text.strip():
        raise UserError(f"{flag} must have a value, got none; leave it out for its default.")
    options = typing.get_args(kind)
    if type(None) in options:  # `int | None`
        if text.lower() == "none":
            return None
        (kind,) = (option for option in options if option is not type(None))
    if typing.get_origin(kind) is tuple:
        items, kinds = text.strip("()").split(","), typing.get_args(kind)
        if kinds[-1] is Ellipsis:  # as many as there are
            kinds = kinds[:1] * len(items)
        if len(items) != len(kinds):
            raise UserError(
                f"{flag} must be {len(kinds)} values separated by commas, got {text!r}; a further "
                "field takes a --set of its own."
            )
        return tuple(_parse(flag, k, item) for k, item in zip(kinds, items, strict=True))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"{flag} must be true or false, got {text!r}.")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        name = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise UserError(f"{flag} must be {name}, got {text!r}.") from None


def _of_flags(text: str) -> str:
    """What absl says of a flag's value, as a sentence."""
    found = re.match(r"flag --(\w+)=(.*?): ", text, re.DOTALL)
    if not found:
        return text
    name, value = found.groups()
    wanted = flags.FLAGS[name].parser.syntactic_help.replace("integer >=", "an integer of at least")
    return f"--{name} must be {wanted}, got {value!r}." if wanted else text


def _exit(text: str, *, status: int = 2) -> NoReturn:
    print("error: " + plain(" ".join(text.split()), most=2000), file=sys.stderr)
    sys.exit(status)
