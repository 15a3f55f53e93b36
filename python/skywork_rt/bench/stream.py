"""How fast this machine reads memory, now: what bounds a decoder that reads every weight once a token."""

from __future__ import annotations

__all__ = ["glance_at_stream", "measure_stream"]

_BYTES = 1 << 29
_PASSES = 8
_QUICK_BYTES = 1 << 28
_QUICK_PASSES = 4


def measure_stream(threads: int) -> float:
    """Bytes a second that so many threads read together, of memory beyond all caches; takes about a second."""
    from skywork_rt import _core

    return _core.bench.measure_memory_stream(threads, _BYTES, _PASSES)


def glance_at_stream(threads: int) -> float:
    """The same, in a twentieth of a second: for a figure that is taken right beside."""
    from skywork_rt import _core

    return _core.bench.measure_memory_stream(threads, _QUICK_BYTES, _QUICK_PASSES)
