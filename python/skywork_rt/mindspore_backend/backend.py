"""The backend: chunks become calls of the two graphs over a cache on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skywork_rt.backends import Chunk, ModelSpec, Move, PythonBackend, RopeSpec, Traits, Watch
from skywork_rt.checkpoints.model import Float32Array, ModelConfig
from skywork_rt.export.graph.contract import FULL, INCREMENTAL, MASKED, Contract
from skywork_rt.export.graph.reference import rotary_tables
from skywork_rt.mindspore_backend.sizes import (
    LONGEST_CHUNK,
    SINGLE,
    chunk_size,
    least_at_least,
    row_counts,
    slot_counts,
)
from skywork_rt.mindspore_backend.slot_cache import SlotCache

__all__ = ["Limits", "MindSporeBackend", "Runner", "spec_of"]


class Runner(Protocol):
    """What runs a graph: `Cells`."""

    def run(self, contract: Contract, inputs: list[NDArray[Any]]) -> list[Float32Array]: ...


@dataclass(frozen=True)
class Limits:
    """What a backend was opened for."""

    sequences: int
    """Most that are open at once."""

    max_length: int
    """Most tokens of one sequence."""

    max_cached_tokens: int
    """Most tokens of all together."""


class MindSporeBackend(PythonBackend):
    """A model whose graphs `runner` runs, float32 throughout.

    The incremental graph computes single tokens of several sequences, which lie in neighbouring slots for it; the full
    graph computes chunks, and with `full_only` everything, one sequence a call.
    """

    name = "mindspore"

    def __init__(
        self,
        config: ModelConfig,
        runner: Runner,
        limits: Limits,
        choices: Mapping[str, str],
        *,
        full_only: bool = False,
    ) -> None:
        self._config = config
        self._runner: Runner | None = runner
        self._full_only = full_only
        self._slot_counts = slot_counts(limits.max_length)
        self._row_counts = row_counts(limits.sequences)
        self._cache = SlotCache(config, limits.sequences, self._slot_counts[0])
        self._slots: dict[int, int] = {}  # of each open sequence
        self.choices = choices
        self.model = spec_of(config)
        self.traits = Traits(
            max_batch=limits.sequences,
            max_cached_tokens=limits.max_cached_tokens,
            max_chunk=LONGEST_CHUNK,
            can_fork=True,
            bytes_per_token=bytes_per_token(config),
        )

    def open(self, seq: int, max_tokens: int) -> None:
        free = set(range(self._cache.slots)) - set(self._slots.values())
        self._slots[seq] = min(free)

    def close(self, seq: int) -> None:
        self._cache.lengths[self._slots.pop(seq)] = 0

    def truncate(self, seq: int, length: int) -> None:
        self._cache.lengths[self._slots[seq]] = length

    def copy(self, moves: Sequence[Move]) -> None:
        self._cache.copy([(self._slots[move.source], self._slots[move.target], move.length) for move in moves])

    def shutdown(self) -> None:
        self._runner = None
        self._cache.parts.clear()

    def forward(self, chunks: Sequence[Chunk], watch: Watch) -> NDArray[np.float32] | None:
        self._fit(max((*self._cache.lengths, *(chunk.start + len(chunk.tokens) for chunk in chunks))))
        single = [] if self._full_only else [chunk for chunk in chunks if len(chunk.tokens) == SINGLE]
        alone = [chunk for chunk in chunks if self._full_only or len(chunk.tokens) > SINGLE]
        pieces = [piece for chunk in alone for piece in self._pieces(chunk)]
        first = self._gather(single)  # before anything is written: slots move with their length
        calls: list[Callable[[], list[tuple[int, Float32Array]]]] = [partial(self._run_full, piece) for piece in pieces]
        if single:
            calls.append(partial(self._run_incremental, single, first))
        logits: dict[int, list[Float32Array]] = {chunk.seq: [] for chunk in chunks}
        for done, call in enumerate(calls):
            if done and watch.give_up(done, len(calls)):
                return None  # no length has changed yet
            for seq, rows in call():
                logits[seq].append(rows)
        for chunk in chunks:
            self._cache.lengths[self._slots[chunk.seq]] = chunk.start + len(chunk.tokens)
        return np.concatenate([rows for chunk in chunks for rows in logits[chunk.seq]])

    def _pieces(self, chunk: Chunk) -> list[_Piece]:
        """A chunk as calls of the full graph, one after the other."""
        pieces: list[_Piece] = []
        done = 0
        while done < len(chunk.tokens):
            slots = least_at_least(self._slot_counts, chunk.start + done)
            size = chunk_size(len(chunk.tokens) - done, slots, singles=self._full_only)
            rows = chunk.logit_rows[(chunk.logit_rows >= done) & (chunk.logit_rows < done + size)] - done
            pieces.append(
                _Piece(
                    chunk.seq, chunk.start + done, chunk.tokens[done : done + size], rows.astype(np.int32), size, slots
                )
            )
            done += size
        return pieces

    def _fit(self, longest: int) -> None:
        positions = least_at_least(self._slot_counts, longest)
        if positions > self._cache.positions:
            self._cache.grow(positions)

    def _gather(self, single: Sequence[Chunk]) -> int:
        """Moves the sequences of a batch into the first slots; one alone stays where it is. Returns the first slot."""
        if len(single) <= 1:
            return self._slots[single[0].seq] if single else 0
        rows = least_at_least(self._row_counts, len(single))
        members = {self._slots[chunk.seq] for chunk in single}
        free = iter([slot for slot in range(rows) if slot not in members])
        for outside in [slot for slot in sorted(members) if slot >= rows]:
            inside = next(free)
            self._cache.swap(inside, outside)
            exchanged = {inside: outside, outside: inside}
            self._slots = {seq: exchanged.get(slot, slot) for seq, slot in self._slots.items()}
        return 0

    def _run_full(self, piece: _Piece) -> list[tuple[int, Float32Array]]:
        slot, new, wanted = self._slots[piece.seq], piece.size, len(piece.logit_rows)
        cos, sin = rotary_tables(self._config, np.arange(piece.start, piece.start + new))
        later = np.triu(np.ones((new, new), np.bool_), 1)
        outputs = self._run(
            FULL,
            [part[slot : slot + 1, :, : piece.slots] for part in self._cache.parts],
            [
                _filled(piece.tokens, new)[None],
                cos[None, None],
                sin[None, None],
                _mask([piece.start], piece.slots),
                np.where(later, np.float32(MASKED), np.float32(0))[None, None],
                _filled(piece.logit_rows, 1 if wanted <= 1 else new),
            ],
        )
        for part, values in enumerate(outputs[1:]):
            self._cache.write(slot, piece.start, part, values[0, :, : len(piece.tokens)])
        return [(piece.seq, outputs[0][:wanted])]

    def _run_incremental(self, batch: Sequence[Chunk], first: int) -> list[tuple[int, Float32Array]]:
        rows = least_at_least(self._row_counts, len(batch))
        tokens, starts = np.zeros((rows, 1), np.int32), [0] * rows
        for chunk in batch:
            row = self._slots[chunk.seq] - first
            tokens[row], starts[row] = chunk.tokens, chunk.start
        cos, sin = rotary_tables(self._config, starts)
        outputs = self._run(
            INCREMENTAL,
            [part[first : first + rows] for part in self._cache.parts],
            [tokens, cos[:, None, None], sin[:, None, None], _mask(starts, self._cache.positions)],
        )
        logits = []
        for chunk in batch:
            slot = self._slots[chunk.seq]
            for part, values in enumerate(outputs[1:]):
                self._cache.write(slot, chunk.start, part, values[slot - first])
            logits.append((chunk.seq, outputs[0][slot - first : slot - first + len(chunk.logit_rows)]))
        return logits

    def _run(self, contract: Contract, cache: list[Float32Array], inputs: list[NDArray[Any]]) -> list[Float32Array]:
        assert self._runner is not None, "nothing is computed after the end"
        return self._runner.run(contract, [np.ascontiguousarray(values) for values in (*inputs, *cache)])


@dataclass(frozen=True)
class _Piece:
    """One call of the full graph."""

    seq: int
    start: int
    tokens: NDArray[np.int32]
    logit_rows: NDArray[np.int32]
    size: int  # new tokens, those that fill up included
    slots: int  # of the cache


def spec_of(config: ModelConfig) -> ModelSpec:
    """The core's view of a configuration."""
    rope = RopeSpec(
        type=config.rope.type,
        theta=config.rope.theta,
        inverse_frequencies=config.rope.inverse_frequencies,
        attention_factor=config.rope.attention_factor,
    )
    ids = {"bos_id": config.bos_id, "pad_id": config.pad_id}
    shape: dict[str, Any] = {name: getattr(config, name) for name in _SHAPE}
    shape |= {name: value for name, value in ids.items() if value is not None}
    return ModelSpec(rope=rope, **shape)


_SHAPE = (
    "name", "architecture", "layers", "hidden_size", "intermediate_size", "heads", "kv_heads", "head_dim", "vocab_size",
    "max_length", "rms_norm_eps", "qkv_bias", "tied_embeddings", "eos_ids",
)  # fmt: skip


def bytes_per_token(config: ModelConfig) -> int:
    """Of keys and values in float32."""
    return 2 * config.layers * config.kv_heads * config.head_dim * 4


def _mask(lengths: Sequence[int], slots: int) -> Float32Array:
    """[rows, 1, 1, slots]: open for what each row has cached."""
    is_open = np.arange(slots) < np.asarray(lengths)[:, None]
    return np.where(is_open, np.float32(0), np.float32(MASKED))[:, None, None]


def _filled(values: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """`values` and zeros, `count` in all."""
    filled = np.zeros(count, np.int32)
    filled[: len(values)] = values
    return filled
