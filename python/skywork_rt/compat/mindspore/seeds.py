"""`set_seed`: what models that are opened afterwards sample from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from skywork_rt.errors import InvalidArgumentError

__all__ = ["get_seed", "next_seed", "set_seed"]

_seed: int | None = None
_calls: Iterator[int] = itertools.count()


def set_seed(seed: int) -> None:
    """From here on every call that samples has a seed of its own that follows from `seed` and from how many calls there
    were. 0 <= seed < 2**32, as in MindSpore; two runs of a script then give the same texts."""
    global _seed, _calls
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InvalidArgumentError(f"set_seed: seed is {seed!r}, but must be a whole number in [0, 2**32)")
    _seed, _calls = seed, itertools.count()


def get_seed() -> int | None:
    """What `set_seed` was called with last; None before."""
    return _seed


def next_seed() -> int | None:
    """The seed of the next call that samples; None, for a random one, without `set_seed`."""
    return None if _seed is None else (_seed << 32) + (next(_calls) << 16)
