"""Calls of the two graphs with known answers, cut out of sequences that the numpy reference has computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, ModelConfig
from skywork_rt.export.graph.contract import MASKED
from skywork_rt.export.graph.reference import KvCache, ReferenceLlama, rotary_tables

__all__ = ["Case", "Computed", "compute", "full_case", "incremental_case"]


@dataclass(frozen=True)
class Computed:
    """A sequence as the reference computed it: tokens, logits [tokens, vocab_size] and the whole cache."""

    tokens: list[int]
    logits: Float32Array
    cache: KvCache


@dataclass(frozen=True)
class Case:
    """Inputs of one call of a graph, by name, and its expected outputs, in the contract's order."""

    inputs: Mapping[str, NDArray[Any]]
    expected: Sequence[Float32Array]


def compute(model: ReferenceLlama, lengths: Sequence[int], rng: np.random.Generator) -> list[Computed]:
    """Random sequences of these lengths, computed in one pass over the weights."""
    chunks = [(rng.integers(0, model.config.vocab_size, length).tolist(), model.new_cache()) for length in lengths]
    logits = model.forward_many(chunks)
    return [Computed(tokens, rows, cache) for (tokens, cache), rows in zip(chunks, logits, strict=True)]


def full_case(
    config: ModelConfig,
    sequence: Computed,
    *,
    cached: int,
    wanted: Sequence[int],
    spare: int,
    rng: np.random.Generator,
) -> Case:
    """The tokens after the first `cached` as one call of the full graph; `wanted` are indices among them.

    `spare` more slots of the cache hold garbage behind the mask; `cached` + `spare` is at least 1.
    """
    new = len(sequence.tokens) - cached
    cos, sin = rotary_tables(config, np.arange(cached, cached + new))
    later = np.triu(np.ones((new, new), np.bool_), 1)
    rows = np.asarray(wanted, np.int32)
    inputs: dict[str, NDArray[Any]] = {
        "tokens": np.asarray([sequence.tokens[cached:]], np.int32),
        "cos": cos[None, None],
        "sin": sin[None, None],
        "cache_mask": _cache_mask([cached], cached + spare),
        "new_mask": np.where(later, np.float32(MASKED), np.float32(0))[None, None],
        "logit_rows": rows,
    }
    expected = [sequence.logits[cached + rows]]
    for layer in range(config.layers):
        for part, whole in (("key", sequence.cache.keys[layer]), ("value", sequence.cache.values[layer])):
            inputs[f"{part}_{layer}"] = _slots(whole[:, :cached], cached + spare, rng)[None]
            expected.append(whole[None, :, cached:])
    return Case(inputs, expected)


def incremental_case(
    config: ModelConfig, sequences: Sequence[Computed], *, slots: int, rng: np.random.Generator
) -> Case:
    """The last token of each sequence as one call of the incremental graph with `slots` slots a row."""
    cached = [len(sequence.tokens) - 1 for sequence in sequences]
    cos, sin = rotary_tables(config, cached)
    inputs: dict[str, NDArray[Any]] = {
        "tokens": np.asarray([sequence.tokens[-1:] for sequence in sequences], np.int32),
        "cos": cos[:, None, None],
        "sin": sin[:, None, None],
        "cache_mask": _cache_mask(cached, slots),
    }
    expected = [np.stack([sequence.logits[-1] for sequence in sequences])]
    for layer in range(config.layers):
        for part in ("key", "value"):
            rows = [(s.cache.keys if part == "key" else s.cache.values)[layer] for s in sequences]
            inputs[f"{part}_{layer}"] = np.stack([_slots(row[:, :-1], slots, rng) for row in rows])
            expected.append(np.stack([row[:, -1:] for row in rows]))
    return Case(inputs, expected)


def _cache_mask(cached: Sequence[int], slots: int) -> Float32Array:
    """[rows, 1, 1, slots]: open for each row's first `cached` slots."""
    is_open = np.arange(slots) < np.asarray(cached)[:, None]
    return np.where(is_open, np.float32(0), np.float32(MASKED))[:, None, None]


def _slots(cached: Float32Array, slots: int, rng: np.random.Generator) -> Float32Array:
    """`cached` [kv_heads, length, head_dim] in a buffer of `slots` slots whose rest is garbage."""
    heads, length, head = cached.shape
    garbage = rng.standard_normal((heads, slots - length, head), dtype=np.float32)
    return np.concatenate([cached, garbage], axis=1)
