"""What a type of weights is to the quantiser. The types themselves are modules of `types`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.export.quantise.layout import ALIGNMENT, GROUP, PANEL_ROWS

__all__ = ["RandomCodes", "WeightType"]


@dataclass(frozen=True)
class RandomCodes:
    """What codes are whose bytes are uniformly random."""

    deviation: float
    mean: float


@dataclass(frozen=True)
class WeightType:
    """How the native backend's kernels want matrices of a type: csrc/backend/native/kernels/types/ has the other half.

    A [rows, columns] matrix becomes uint8 [panels, bytes of a panel]: see `layout`.
    """

    name: str
    """In files, options and messages."""

    scale_bytes: int
    """That `scale_groups` groups of 16 rows take: 0, 32 (a float16 scale a row), 64 (a scale and a minimum) or more."""

    code_bytes: int
    """That the codes of a group of 16 rows take."""

    unpack: Callable[[NDArray[np.uint8], int], Float32Array]
    """(panels, columns): the weights that they stand for, float32 [16 * panels, columns], to the bit what the kernels
    take them for. Rows that filled the last panel up are still there."""

    scale_groups: int = 1
    """Groups whose scales lie together."""

    pack: Callable[[Float32Array, str], NDArray[np.uint8]] | None = None
    """(rows, name of their tensor): panels of any number of rows; only the last of a matrix may leave one unfilled.

    Raises CheckpointError, with the tensor's name, for weights that the type cannot hold. None: weights are never
    rounded to this type, only carried over from a file that has it.
    """

    lossless: bool = False
    """Whether `pack` keeps every float32 as it is."""

    raw_types: tuple[str, ...] = ()
    """GGUF's types of blocks that become this type without loss."""

    pack_raw: Callable[[RawTensor, int, int], NDArray[np.uint8]] | None = None
    """(tensor of such a type, start, stop): panels of its rows start to stop."""

    vocabulary: str | None = None
    """The type of the embedding and the head, where it is another."""

    default: bool = False
    """Whether an export makes such a file unasked."""

    random: RandomCodes | None = None
    """For types whose codes may be any bytes."""

    def packed_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Panels, and bytes of a panel, of a packed matrix."""
        groups = -(-columns // GROUP)
        units = -(-groups // self.scale_groups)
        scales = -(-units * self.scale_bytes // ALIGNMENT) * ALIGNMENT
        return -(-rows // PANEL_ROWS), scales + groups * self.code_bytes

    @property
    def group_bytes(self) -> float:
        return self.scale_bytes / self.scale_groups + self.code_bytes
