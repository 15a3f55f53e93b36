"""A backend whose answers are known: after a token comes the next one."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skywork_rt.backends import Chunk, ModelSpec, Move, PythonBackend, Traits, Watch

VOCABULARY = 100


class Counting(PythonBackend):
    """Keeps the tokens of every sequence, and checks by them that it is told of all that happens."""

    model = ModelSpec(vocab_size=VOCABULARY, max_length=100_000, eos_ids=[99])
    traits = Traits(max_batch=8, can_fork=True)

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.tokens: dict[int, list[int]] = {}
        self.is_shut_down = False

    def open(self, seq: int, max_tokens: int) -> None:
        assert seq not in self.tokens
        self.tokens[seq] = []

    def close(self, seq: int) -> None:
        del self.tokens[seq]

    def copy(self, moves: Sequence[Move]) -> None:
        self.tokens |= {move.target: self.tokens[move.source][: move.length] for move in moves}

    def shutdown(self) -> None:
        self.is_shut_down = True

    def forward(self, chunks: Sequence[Chunk], watch: Watch) -> NDArray[np.float32] | None:
        last: list[int] = []
        for chunk in chunks:
            kept = self.tokens[chunk.seq][: chunk.start]
            assert len(kept) == chunk.start
            self.tokens[chunk.seq] = kept + chunk.tokens.tolist()
            last += chunk.tokens[chunk.logit_rows].tolist()
        time.sleep(self.seconds)
        return np.asarray(self.rows(last), np.float32).reshape(len(last), VOCABULARY)

    def rows(self, last: list[int]) -> list[NDArray[np.float32]]:
        """The logits behind each of these tokens."""
        return [10 * np.eye(VOCABULARY, dtype=np.float32)[(token + 1) % VOCABULARY] for token in last]
