"""Keys and values on the host: dense, a slot a sequence, in the layout that the graphs take as inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skywork_rt.checkpoints.model import Float32Array, ModelConfig

__all__ = ["SlotCache"]


class SlotCache:
    """A layer's keys, then its values, each float32 [slots, kv_heads, positions, head_dim]; and each slot's length.

    Memory is taken as it is written: what the system gives for untouched zeros costs nothing.
    """

    def __init__(self, config: ModelConfig, slots: int, positions: int) -> None:
        self._shape = (slots, config.kv_heads, positions, config.head_dim)
        self.parts: list[Float32Array] = [np.zeros(self._shape, np.float32) for _ in range(2 * config.layers)]
        self.lengths = [0] * slots

    @property
    def slots(self) -> int:
        return self._shape[0]

    @property
    def positions(self) -> int:
        return self._shape[2]

    def grow(self, positions: int) -> None:
        """Gives every slot so many positions, at least as many as it has."""
        slots, heads, _, head = self._shape
        self._shape = (slots, heads, positions, head)
        for index, old in enumerate(self.parts):
            new = np.zeros(self._shape, np.float32)
            for slot, length in enumerate(self.lengths):
                new[slot, :, :length] = old[slot, :, :length]
            self.parts[index] = new

    def write(self, slot: int, start: int, part: int, new: Float32Array) -> None:
        """Puts `new` [kv_heads, tokens, head_dim] at the positions from `start` on. Lengths stay as they are."""
        self.parts[part][slot, :, start : start + new.shape[1]] = new

    def copy(self, moves: Sequence[tuple[int, int, int]]) -> None:
        """Carries out (source, target, length), all sources being read first."""
        for part in self.parts:
            taken = [part[source, :, :length].copy() for source, _, length in moves]
            for (_, target, length), values in zip(moves, taken, strict=True):
                part[target, :, :length] = values
        for _, target, length in moves:
            self.lengths[target] = length

    def swap(self, a: int, b: int) -> None:
        """Exchanges the contents of two slots."""
        lengths = self.lengths[a], self.lengths[b]
        self.copy([(a, b, lengths[0]), (b, a, lengths[1])])
