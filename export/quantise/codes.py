"""What types with scales share: rows of float32 in groups, and groups as codes with float16 scales.

A group is 32 consecutive inputs of one row. The last group of a row is filled up with copies of its last weight, which
do not widen its range; the kernels multiply them by zero inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.errors import CheckpointError
from skywork_rt.export.quantise.layout import GROUP

__all__ = ["Codes", "dequantised", "grouped", "halves", "inverse", "to_half"]


@dataclass(frozen=True)
class Codes:
    """Some rows of a quantised matrix: codes [rows, groups, 32], scales and perhaps minimums float16 [rows, groups]."""

    codes: NDArray[np.int8] | NDArray[np.uint8]
    scales: NDArray[np.float16]
    minimums: NDArray[np.float16] | None = None


def dequantised(codes: Codes, columns: int) -> Float32Array:
    """The weights that the codes stand for, float32 [rows, columns], as the kernels understand them."""
    weights = codes.scales.astype(np.float32)[..., None] * codes.codes.astype(np.float32)
    if codes.minimums is not None:
        weights += codes.minimums.astype(np.float32)[..., None]
    return np.ascontiguousarray(weights.reshape(len(weights), -1)[:, :columns])


def halves(pairs: NDArray[np.uint8]) -> NDArray[np.float16]:
    """float16 […] of bytes […, 2]."""
    return np.ascontiguousarray(pairs).view(np.float16)[..., 0]


def grouped(rows: Float32Array) -> Float32Array:
    """float32 [rows, groups, 32]."""
    count, columns = rows.shape
    groups = -(-columns // GROUP)
    if columns != groups * GROUP:
        rows = np.pad(rows, ((0, 0), (0, groups * GROUP - columns)), mode="edge")
    return rows.reshape(count, groups, GROUP)


def to_half(values: Float32Array, name: str) -> NDArray[np.float16]:
    """Raises CheckpointError, on behalf of the tensor `name`, for what float16 cannot hold."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise CheckpointError(f"{name} has weights that are not finite or too large to quantise (above 65504)")
    return halves


def inverse(scales: NDArray[np.float16]) -> Float32Array:
    """1 / scale, 0 for the scale 0."""
    wide = scales.astype(np.float32)
    result: Float32Array = np.divide(np.float32(1), wide, out=np.zeros_like(wide), where=wide != 0)
    return result
