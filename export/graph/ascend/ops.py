"""The operations of the device that write and read its cache: inputs in their order, and which of them they change.

As MindSpore 2.2 documents PromptKVCache, DecoderKVCache and ReshapeAndCache, and as MindFormers 1.0.2 calls
PagedAttention. Knows nothing of MindSpore.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["OPERATIONS", "STAND_IN", "Operation"]

STAND_IN = "SkyworkRt"
"""Begins the names under which MindSpore compiles them: it knows two of the true names, with other inputs."""


@dataclass(frozen=True)
class Operation:
    """Names of inputs in order; `writes` are those that are changed; `attributes` are the primitive's."""

    inputs: tuple[str, ...]
    writes: frozenset[str] = frozenset()
    attributes: tuple[str, ...] = ()


_ROWS = ("cache", "update", "valid_seq_len", "batch_index", "seq_len_axis", "new_max_seq_len", "cur_max_seq_len")

OPERATIONS: Mapping[str, Operation] = {
    "PromptKVCache": Operation(_ROWS, frozenset({"cache"}), ("padding_mode",)),
    "DecoderKVCache": Operation(_ROWS, frozenset({"cache"})),
    "ReshapeAndCache": Operation(
        ("key", "value", "key_cache", "value_cache", "slot_mapping"), frozenset({"key_cache", "value_cache"})
    ),
    "PagedAttention": Operation(
        ("query", "key_cache", "value_cache", "block_tables", "context_lens"),
        attributes=("head_num", "scale_value", "kv_head_num"),
    ),
}
