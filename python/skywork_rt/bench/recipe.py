"""A decode loop driven by Python, as the recipe that this project replaces has it: MindFormers' inference on Lite.

Every habit of that loop that costs time or surprises is here, marked in the code with its name:

    [pad]       every prompt is padded to the full sequence length before prefill
    [scan]      a prompt's length is found by looking for the last id that is no padding
    [rewrite]   the whole cache is rewritten for every token
    [logits]    the logits of all rows are copied to the host, [batch, vocabulary]
    [threads]   they are processed with one Python thread a row, started anew for every token …
    [numpy]     … by a chain of numpy calls: repetition penalty, temperature, top_k, top_p
    [nucleus]   top_p looks at the best 200 tokens only
    [global]    the draw comes from numpy's global random state
    [late]      length and end token are checked after the forward pass
    [finished]  rows that have ended compute on until all have

Where the recipe's device does something inside its graph, the host here does the least that has the same effect: one
copy of the cache stands for the Assign of a one-hot sum over all of it. The graphs are the bundle's own, so what
differs from our engine in speed is the loop alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skywork_rt.bench.graphs import Array, ContractGraph
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.export.graph.contract import MASKED, Sizes
from skywork_rt.export.graph.reference import rotary_tables

__all__ = ["RecipeConfig", "RecipeLoop", "choose_tokens"]

_NUCLEUS_CANDIDATES = 200

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class RecipeConfig:
    """The recipe's generation options."""

    do_sample: bool = False
    top_k: int = 1
    top_p: float = 1.0
    temperature: float = 1.0
    repetition_penalty: float = 1.0
    eos_token_id: int | None = 2
    """None: only its length ends a row, for measurements."""
    pad_token_id: int = 0


class RecipeLoop:
    """Prefill on the full graph, then one token a row and step on the incremental graph."""

    def __init__(
        self, config: ModelConfig, full: ContractGraph, incremental: ContractGraph, sequence_length: int
    ) -> None:
        """`sequence_length` is the recipe's `infer_seq_length`: every buffer has it, however short the prompts."""
        if not 2 <= sequence_length <= config.max_length:
            raise InvalidArgumentError(
                f"sequence_length is {sequence_length}, but must be in [2, {config.max_length}], the model's length"
            )
        self._config = config
        self._full = full
        self._incremental = incremental
        self._length = sequence_length
        steps = np.arange(sequence_length)
        self._causal = np.where(steps <= steps[:, None], 0, MASKED).astype(np.float32)[None, None]
        self._cos, self._sin = rotary_tables(config, steps)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_length: int,
        config: RecipeConfig,
        on_token: Callable[[], None] = lambda: None,
    ) -> list[list[int]]:
        """Prompts and their continuations, at most `max_length` tokens a row, prompt included.

        `on_token` is called whenever every unfinished row has its next token.
        """
        ids = self._pad(prompts, max_length, config.pad_token_id)
        lengths = _scan_lengths(ids, config.pad_token_id)
        finished = np.zeros(len(ids), bool)
        logits, cache = self._prefill(ids, lengths)
        while True:
            tokens = choose_tokens(logits, ids, lengths, config)
            for row in np.flatnonzero(~finished):
                ids[row, lengths[row]] = tokens[row]
                lengths[row] += 1
                finished[row] = lengths[row] >= max_length or tokens[row] == config.eos_token_id  # [late]
            on_token()
            if finished.all():  # [finished]
                return [ids[row, :length].tolist() for row, length in enumerate(lengths)]
            logits, cache = self._step(ids, lengths, cache)

    def _pad(self, prompts: Sequence[Sequence[int]], max_length: int, pad: int) -> Ids:
        """[pad] Ids [rows, sequence length]."""
        if max_length > self._length:
            raise InvalidArgumentError(f"max_length is {max_length}, over the sequence length of {self._length}")
        ids = np.full((len(prompts), self._length), pad, np.int32)
        for row, prompt in enumerate(prompts):
            if not 0 < len(prompt) < max_length:
                raise InvalidArgumentError(
                    f"prompt {row} has {len(prompt)} tokens, but must have 1 to {max_length - 1}, below max_length"
                )
            ids[row, : len(prompt)] = prompt
        return ids

    def _prefill(self, ids: Ids, lengths: NDArray[np.int64]) -> tuple[Floats, list[Floats]]:
        """Logits [rows, vocabulary], and the caches [rows, kv_heads, sequence length, head_dim]."""
        rows, length = ids.shape
        shape = (rows, self._config.kv_heads, length, self._config.head_dim)
        cache = [np.zeros(shape, np.float32) for _ in range(2 * self._config.layers)]
        empty = np.zeros((1, self._config.kv_heads, 1, self._config.head_dim), np.float32)
        logits = np.empty((rows, self._config.vocab_size), np.float32)
        self._full.resize(Sizes(1, length, 1, 1))
        for row in range(rows):
            self._full.bind(
                {
                    "tokens": ids[row : row + 1],
                    "cos": self._cos[None, None],
                    "sin": self._sin[None, None],
                    "cache_mask": np.full((1, 1, 1, 1), MASKED, np.float32),
                    "new_mask": self._causal,
                    "logit_rows": np.array([lengths[row] - 1], np.int32),
                    **self._cache_inputs([empty] * len(cache)),
                }
            )
            self._full.run()
            row_logits, *news = self._full.outputs()
            logits[row] = row_logits[0]
            for part, new in zip(cache, news, strict=True):
                part[row] = new[0]
        return logits, cache

    def _step(self, ids: Ids, lengths: NDArray[np.int64], cache: list[Floats]) -> tuple[Floats, list[Floats]]:
        """One token of every row, ended or not, over the whole cache. [finished]"""
        rows = np.arange(len(ids))
        positions = lengths - 1
        visible = np.arange(self._length) < positions[:, None]
        self._incremental.resize(Sizes(len(ids), 1, self._length, 1))
        self._incremental.bind(
            {
                "tokens": ids[rows, positions][:, None],
                "cos": self._cos[positions][:, None, None],
                "sin": self._sin[positions][:, None, None],
                "cache_mask": np.where(visible, 0, MASKED).astype(np.float32)[:, None, None],
                **self._cache_inputs(cache),
            }
        )
        self._incremental.run()
        logits, *news = self._incremental.outputs()  # [logits]
        return logits, [_rewrite(part, new, rows, positions) for part, new in zip(cache, news, strict=True)]

    def _cache_inputs(self, cache: list[Floats]) -> dict[str, Array]:
        names = [f"{part}_{layer}" for layer in range(self._config.layers) for part in ("key", "value")]
        return dict(zip(names, cache, strict=True))


def _scan_lengths(ids: Ids, pad: int) -> NDArray[np.int64]:
    """[scan] Where the last id that is not padding ends; a prompt of padding only counts as one token."""
    reversed_hits = (ids != pad)[:, ::-1]
    lengths = ids.shape[1] - reversed_hits.argmax(axis=1)
    return np.where(reversed_hits.any(axis=1), lengths, 1).astype(np.int64)


def _rewrite(cache: Floats, new: Floats, rows: Array, positions: Array) -> Floats:
    """[rewrite] The cache after the new token, as a new array."""
    rewritten = cache.copy()
    rewritten[rows, :, positions] = new[:, :, 0]
    return rewritten


def choose_tokens(logits: Floats, ids: Ids, lengths: NDArray[np.int64], config: RecipeConfig) -> NDArray[np.int64]:
    """[threads] The next token of each row of `logits` [rows, vocabulary], which is overwritten."""
    chosen = np.zeros(len(logits), np.int64)

    def choose(row: int) -> None:
        chosen[row] = _choose(logits[row], ids[row, : lengths[row]], config)

    threads = [threading.Thread(target=choose, args=(row,)) for row in range(len(logits))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return chosen


def _choose(scores: Floats, history: Ids, config: RecipeConfig) -> int:
    """[numpy] The chain, in its order."""
    if config.repetition_penalty != 1.0:
        seen = np.unique(history)
        old = scores[seen]
        scores[seen] = np.where(old < 0, old * config.repetition_penalty, old / config.repetition_penalty)
    if not config.do_sample:
        return int(np.argmax(scores))
    if config.temperature != 1.0:
        scores = scores / np.float32(config.temperature)
    if 0 < config.top_k < len(scores):
        least = np.partition(scores, -config.top_k)[-config.top_k]
        scores = np.where(scores < least, -np.inf, scores)
    left = np.flatnonzero(np.isfinite(scores))
    kept = left if config.top_p >= 1.0 else _nucleus(scores, left, config.top_p)
    weights = _softmax(scores[kept]).astype(np.float64)
    return int(np.random.choice(kept, p=weights / weights.sum()))  # [global]


def _nucleus(scores: Array, left: NDArray[np.int64], top_p: float) -> NDArray[np.int64]:
    """[nucleus] Of the ids in `left`, the smallest set of the best 200 whose probability reaches `top_p`.

    Ordering only what top_k left is kinder than the recipe, whose second pass walks the whole vocabulary again.
    """
    if len(left) > _NUCLEUS_CANDIDATES:
        left = left[np.argpartition(scores[left], -_NUCLEUS_CANDIDATES)[-_NUCLEUS_CANDIDATES:]]
    best = left[np.argsort(-scores[left])]
    cumulative = np.cumsum(_softmax(scores)[best])
    return best[: int(np.searchsorted(cumulative, top_p)) + 1]


def _softmax(scores: Array) -> Floats:
    exponentials = np.exp(scores - scores.max())
    return np.asarray(exponentials / exponentials.sum(), np.float32)
