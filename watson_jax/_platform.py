"""Code that differs between platforms, with one switch by which tests reach all of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

_pretended: str | None = None


def by_platform(
    *operands: Any, default: Callable[..., Any], **implementations: Callable[..., Any]
) -> Any:
    """Calls the implementation of the platform that the program is compiled for.

    Args:
      *operands: pytrees of arrays.
      default: for platforms that have none of their own.
      **implementations: by the name of the platform: "cpu", "cuda", "rocm" or "tpu".

    Returns:
      What the implementation returns; its shapes and types are those of all.
    """
    if _pretended is not None:
        return implementations.get(_pretended, default)(*operands)
    return jax.lax.platform_dependent(*operands, default=default, **implementations)


@contextlib.contextmanager
def pretend(platform: str) -> Iterator[None]:
    """Takes the implementations of another platform; they run on the one there is. For tests."""
    global _pretended
    before = _pretended
    jax.clear_caches()
    _pretended = platform
    try:
        yield
    finally:
        _pretended = before
        jax.clear_caches()
