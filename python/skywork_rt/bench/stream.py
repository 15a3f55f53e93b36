"""How fast this machine reads memory, now: what bounds a decoder that reads every weight once a token."""

from __future__ import annotations

__all__ = ["measure_stream"]

_BYTES = 1 << 29
_PASSES = 8


def measure_stream(threads: int) -> float:
    """Bytes a second that so many threads read together, of memory beyond all caches; takes about a second."""
    from skywork_rt import _core

    return _core.bench.measure_memory_stream(threads, _BYTES, _PASSES)
