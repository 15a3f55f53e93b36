"""A Llama in numpy as a backend: the reference that graphs are compared with, behind the engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skywork_rt.backends import Chunk, ModelSpec, Move, PythonBackend, Traits, Watch
from skywork_rt.checkpoints.model import Source
from skywork_rt.export.graph.reference import KvCache, ReferenceLlama


class NumpyLlama(PythonBackend):
    """Runs any `Source`; of a chunk's `start` it follows what the sequence's cache keeps."""

    name = "numpy"

    def __init__(self, source: Source, *, max_batch: int = 8, max_cached_tokens: int = 1 << 16) -> None:
        config = source.config
        self._llama = ReferenceLlama(source)
        self._caches: dict[int, KvCache] = {}
        self.is_shut_down = False
        self.model = ModelSpec(
            name=config.name, vocab_size=config.vocab_size, max_length=config.max_length, eos_ids=config.eos_ids
        )
        self.traits = Traits(max_batch=max_batch, max_cached_tokens=max_cached_tokens, max_chunk=64, can_fork=True)

    def open(self, seq: int, max_tokens: int) -> None:
        self._caches[seq] = self._llama.new_cache()

    def close(self, seq: int) -> None:
        del self._caches[seq]

    def shutdown(self) -> None:
        self.is_shut_down = True

    def copy(self, moves: Sequence[Move]) -> None:
        self._caches |= {move.target: _first(self._caches[move.source], move.length) for move in moves}

    def forward(self, chunks: Sequence[Chunk], watch: Watch) -> NDArray[np.float32] | None:
        rows = [np.empty((0, self.model.vocab_size), np.float32)]
        for done, chunk in enumerate(chunks):
            if done and watch.give_up(done, len(chunks)):
                return None
            cache = self._caches[chunk.seq] = _first(self._caches[chunk.seq], chunk.start)
            rows.append(self._llama.forward(chunk.tokens.tolist(), cache)[chunk.logit_rows])
        return np.concatenate(rows)


def _first(cache: KvCache, length: int) -> KvCache:
    return KvCache([keys[:, :length] for keys in cache.keys], [values[:, :length] for values in cache.values])
