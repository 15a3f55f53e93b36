"""Telling which extra of this package a missing library belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from skywork_rt.errors import UnsupportedError

__all__ = ["needs_extra"]


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Around imports: raises UnsupportedError that names the command which installs what is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "skywork_rt":
            raise
        raise UnsupportedError(
            f"the package {error.name} is not installed: pip install 'skywork-rt[{extra}]'"
        ) from error
