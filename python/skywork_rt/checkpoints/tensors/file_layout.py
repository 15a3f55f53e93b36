"""How the bytes of a file of tensors are laid out, known before the first of them is written.

A writer of checkpoints takes the places of all tensors from their shapes alone: then it can write them in any order,
from several processes, and tell after an interruption which of them are there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from skywork_rt.checkpoints.tensors.weight_file import STORAGE_TYPES

__all__ = ["FileLayout", "TensorSpec"]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that a file is to hold; `dtype` is one of `STORAGE_TYPES`."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of its content."""
        return math.prod(self.shape) * STORAGE_TYPES[self.dtype].itemsize


class FileLayout(Protocol):
    """The bytes of one file: a head, a part for each tensor, one behind the other, and a tail."""

    @property
    def head(self) -> bytes:
        """What stands before the first tensor's part."""
        ...

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """Where each tensor's part begins and ends in the file."""
        ...

    def pieces(self, index: int, content: memoryview) -> Iterator[bytes | memoryview]:
        """The part of tensor `index`, whose bytes are `content`."""
        ...

    def tail(self, checksums: Sequence[int]) -> bytes:
        """What stands behind the last part; `checksums` are the CRC-32 of each tensor's content."""
        ...
