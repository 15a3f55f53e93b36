"""The four operations on the device's cache in numpy, from their documentation: a reference, for no speed.

Arrays have the shapes of the graphs; caches are changed in place, as on the device. What the documentation leaves open
is refused with InternalError: a graph that relied on it would rely on one kernel's habits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.errors import InternalError
from skywork_rt.export.graph.reference import softmax

__all__ = ["decoder_kv_cache", "paged_attention", "prompt_kv_cache", "reshape_and_cache"]

Array = NDArray[Any]


def prompt_kv_cache(cache: Array, update: Array, valid: Array, rows: Array, *_: Array) -> Array:
    """Row i of `update` [b, heads, s, head] goes into row rows[i] of `cache` [B, heads, S, head] from valid[i] on."""
    count, most = update.shape[2], cache.shape[2]
    for i, start in enumerate(valid):
        if not 0 <= rows[i] < len(cache) or not 0 <= start <= most - count:
            raise InternalError(f"PromptKVCache writes {count} positions from {start} of row {rows[i]}")
        cache[rows[i], :, start : start + count] = update[i]
    return cache


def decoder_kv_cache(cache: Array, update: Array, valid: Array, *_: Array) -> Array:
    """Row i of `update` [b, heads, 1, head] goes to position valid[i] of row i."""
    for i, position in enumerate(valid):
        if update.shape[2] != 1 or not 0 <= position < cache.shape[2]:
            raise InternalError(f"DecoderKVCache writes {update.shape[2]} positions from {position} of row {i}")
        cache[i, :, position] = update[i, :, 0]
    return cache


def reshape_and_cache(key: Array, value: Array, key_cache: Array, value_cache: Array, slots: Array) -> Array:
    """Token i of key and value [tokens, heads, head] goes to slot slots[i] of blocks [blocks, tokens, heads, head]."""
    if len(slots) != len(key) or (slots < 0).any() or (slots >= key_cache.shape[0] * key_cache.shape[1]).any():
        raise InternalError(f"ReshapeAndCache has {len(key)} tokens and slots {slots.tolist()}")
    for cache, update in ((key_cache, key), (value_cache, value)):
        cache.reshape(-1, *cache.shape[2:])[slots] = update
    return key


def paged_attention(
    query: Array,
    key_cache: Array,
    value_cache: Array,
    tables: Array,
    lengths: Array,
    *,
    head_num: int,
    scale_value: float,
    kv_head_num: int,
) -> Array:
    """Attention of one query a row, [rows, heads, head], over the first lengths[i] tokens that its table leads to."""
    mixed = np.empty_like(query)
    for i, length in enumerate(lengths):
        blocks = tables[i, : -(-int(length) // key_cache.shape[1])]
        if length < 1 or (blocks < 0).any():
            raise InternalError(f"PagedAttention reads {length} tokens of row {i} from blocks {blocks.tolist()}")
        keys, values = (
            cache[blocks].reshape(-1, kv_head_num, cache.shape[-1])[:length].astype(np.float32)
            for cache in (key_cache, value_cache)
        )
        grouped = query[i].astype(np.float32).reshape(kv_head_num, head_num // kv_head_num, -1)
        weights = softmax(np.einsum("hgd,thd->hgt", grouped, keys) * np.float32(scale_value))
        mixed[i] = np.einsum("hgt,thd->hgd", weights, values).reshape(head_num, -1)
    return mixed
