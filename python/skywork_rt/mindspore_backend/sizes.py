"""The few shapes that graphs are compiled for, and what they take.

Every call is filled up to one of them, so that after its first call a shape never compiles again.
"""

from __future__ import annotations

from collections.abc import Sequence

from skywork_rt.checkpoints.model import ModelConfig

__all__ = ["LONGEST_CHUNK", "SINGLE", "chunk_size", "least_at_least", "row_counts", "slot_counts", "work_bytes"]

LONGEST_CHUNK = 64
"""Most new tokens of one call of the full graph."""

SINGLE = 1
"""New tokens of a call of the full graph where it computes single tokens too."""

_SHORT_CHUNK = 16
_FEWEST_SLOTS = 128
_SLOTS_FOR_LONG_CHUNKS = 512  # the scores of a chunk take memory by its tokens times its slots
_GROWTH = 4

# Measured with SmolLM2-135M and random models (MindSpore 2.7.2, resident memory): the library and its compiler; a
# compiled shape; and how much more than the sum of all that is computed between input and output it keeps.
_LIBRARY_BYTES = 700 << 20
_SHAPE_BYTES = 64 << 20
_OVERHEAD = 1.75


def slot_counts(max_length: int) -> tuple[int, ...]:
    """Slots of the cache: 128, four times as many and so on, the last one `max_length`."""
    return _counts(_FEWEST_SLOTS, max_length)


def row_counts(max_rows: int) -> tuple[int, ...]:
    """Rows of one call of the incremental graph: 1, 4, 16 and so on, the last one `max_rows`."""
    return _counts(1, max_rows)


def chunk_size(tokens: int, slots: int, *, singles: bool) -> int:
    """New tokens of the next call of the full graph over `slots` slots, when so many are left. `singles`: whether a
    single token is a size of its own."""
    if singles and tokens == SINGLE:
        return SINGLE
    return LONGEST_CHUNK if tokens > _SHORT_CHUNK and slots <= _SLOTS_FOR_LONG_CHUNKS else _SHORT_CHUNK


def least_at_least(counts: Sequence[int], needed: int) -> int:
    """The smallest of ascending `counts` that holds `needed`."""
    return next(count for count in counts if count >= needed)


def work_bytes(config: ModelConfig, max_length: int, max_rows: int) -> int:
    """Memory beside weights and cache when every shape has been used: MindSpore keeps what each computes on the way."""
    total = _LIBRARY_BYTES
    for slots in slot_counts(max_length):
        sizes = [(_SHORT_CHUNK, _SHORT_CHUNK), *((rows, SINGLE) for rows in row_counts(max_rows))]
        if slots <= _SLOTS_FOR_LONG_CHUNKS:
            sizes.append((LONGEST_CHUNK, LONGEST_CHUNK))
        total += sum(_SHAPE_BYTES + round(_OVERHEAD * _computed_bytes(config, rows, new, slots)) for rows, new in sizes)
    return total


def _computed_bytes(config: ModelConfig, rows: int, new: int, slots: int) -> int:
    """Of all that a graph computes for `rows` tokens, each of which sees `new` new ones and `slots` cached ones."""
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    layer = 13 * config.hidden_size + 9 * queries + 6 * keys + 5 * config.intermediate_size
    layer += config.heads * (5 * slots + 4 * new)
    return 4 * rows * (config.layers * layer + config.vocab_size)


def _counts(first: int, last: int) -> tuple[int, ...]:
    counts = [first]
    while counts[-1] < last:
        counts.append(counts[-1] * _GROWTH)
    return (*counts[:-1], last) if counts[-1] > last else tuple(counts)
