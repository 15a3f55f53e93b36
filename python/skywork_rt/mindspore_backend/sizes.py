"""The few shapes that graphs are compiled for. Every call is filled up to one of them, so that after its first call a
shape never compiles again."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FULL_CHUNKS", "SINGLE", "least_at_least", "row_counts", "slot_counts"]

FULL_CHUNKS = (16, 128)
"""New tokens of one call of the full graph; longer chunks do not come."""

SINGLE = 1
"""The third, where the full graph computes single tokens too."""

_FEWEST_SLOTS = 128
_GROWTH = 4


def slot_counts(max_length: int) -> tuple[int, ...]:
    """Slots of the cache: 128, four times as many and so on, the last one `max_length`."""
    return _counts(_FEWEST_SLOTS, max_length)


def row_counts(max_rows: int) -> tuple[int, ...]:
    """Rows of one call of the incremental graph: 1, 4, 16 and so on, the last one `max_rows`."""
    return _counts(1, max_rows)


def least_at_least(counts: Sequence[int], needed: int) -> int:
    """The smallest of ascending `counts` that holds `needed`."""
    return next(count for count in counts if count >= needed)


def _counts(first: int, last: int) -> tuple[int, ...]:
    counts = [first]
    while counts[-1] < last:
        counts.append(counts[-1] * _GROWTH)
    return (*counts[:-1], last) if counts[-1] > last else tuple(counts)
