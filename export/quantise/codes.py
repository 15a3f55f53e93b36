"""Rows of float32 to codes, and GGUF's blocks to the same codes without loss.

A group is 32 consecutive inputs of one row. int8: w = scale * code, -127 <= code <= 127. int4: w = scale * code +
minimum, 0 <= code <= 15. Scales and minimums are float16. The last group of a row is filled up with copies of its last
weight, so that they do not widen its range; the kernels multiply them by zero inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.errors import CheckpointError

__all__ = ["GROUP", "Codes", "dequantised", "from_raw", "to_int4", "to_int8"]

GROUP = 32
_INT4_TOP = 15
_INT8_TOP = 127
_REFINEMENTS = 2


@dataclass(frozen=True)
class Codes:
    """Some rows of a quantised matrix: codes [rows, groups, 32], scales and (int4) minimums float16 [rows, groups]."""

    codes: NDArray[np.int8] | NDArray[np.uint8]
    scales: NDArray[np.float16]
    minimums: NDArray[np.float16] | None = None


def dequantised(codes: Codes, columns: int) -> Float32Array:
    """The weights that the codes stand for, float32 [rows, columns], as the kernels understand them."""
    weights = codes.scales.astype(np.float32)[..., None] * codes.codes.astype(np.float32)
    if codes.minimums is not None:
        weights += codes.minimums.astype(np.float32)[..., None]
    return np.ascontiguousarray(weights.reshape(len(weights), -1)[:, :columns])


def to_int8(rows: Float32Array, name: str) -> Codes:
    """Symmetric, the largest weight of a group at ±127."""
    groups = _grouped(rows)
    largest = np.abs(groups).max(axis=-1)
    scales = _half(largest / np.float32(_INT8_TOP), name)
    codes = np.rint(groups * _inverse(scales)[..., None])
    return Codes(np.clip(codes, -_INT8_TOP, _INT8_TOP).astype(np.int8), scales)


def to_int4(rows: Float32Array, name: str) -> Codes:
    """Asymmetric: from the smallest to the largest weight of a group, then scale and minimum fitted by least squares.

    A fit is kept group by group where it lowers the squared error.
    """
    groups = _grouped(rows)
    low, high = groups.min(axis=-1), groups.max(axis=-1)
    scales, minimums = _half((high - low) / np.float32(_INT4_TOP), name), _half(low, name)
    codes = _int4_codes(groups, scales, minimums)
    error = _squared_error(groups, codes, scales, minimums)
    for _ in range(_REFINEMENTS):
        new_scales, new_minimums = _fit(groups, codes, scales, minimums, name)
        new_codes = _int4_codes(groups, new_scales, new_minimums)
        new_error = _squared_error(groups, new_codes, new_scales, new_minimums)
        better = new_error < error
        if not better.any():
            break
        scales, minimums = np.where(better, new_scales, scales), np.where(better, new_minimums, minimums)
        codes, error = np.where(better[..., None], new_codes, codes), np.where(better, new_error, error)
    return Codes(codes.astype(np.uint8), scales, minimums)


def from_raw(raw: RawTensor, start: int, stop: int) -> Codes:
    """Rows start to stop of a GGUF tensor as our codes: the same numbers in another order.

    Q8_0 is int8; Q4_1 is int4; Q4_0, whose codes are centred at 8, is int4 with the minimum -8 * scale (exact in
    float16 unless it overflows, which is refused).
    """
    rows = stop - start
    if raw.type == "Q8_0":
        blocks = raw.blocks[start:stop].reshape(rows, -1, 2 + GROUP)
        return Codes(blocks[..., 2:].view(np.int8), _halves(blocks[..., :2]))
    header = 4 if raw.type == "Q4_1" else 2
    blocks = raw.blocks[start:stop].reshape(rows, -1, header + GROUP // 2)
    # ggml keeps input i in the low and input i + 16 in the high half of byte i.
    nibbles = blocks[..., header:]
    codes = np.concatenate([nibbles & 0xF, nibbles >> 4], axis=-1)
    scales = _halves(blocks[..., :2])
    if raw.type == "Q4_1":
        return Codes(codes, scales, _halves(blocks[..., 2:4]))
    minimums = scales.astype(np.float32) * np.float32(-8)
    if not (np.abs(minimums[np.isfinite(minimums)]) <= np.finfo(np.float16).max).all():
        raise CheckpointError("a Q4_0 tensor has a scale above 8188, whose minimum float16 cannot hold")
    return Codes(codes, scales, minimums.astype(np.float16))


def _halves(pairs: NDArray[np.uint8]) -> NDArray[np.float16]:
    return np.ascontiguousarray(pairs).view(np.float16)[..., 0]


def _grouped(rows: Float32Array) -> Float32Array:
    count, columns = rows.shape
    groups = -(-columns // GROUP)
    if columns != groups * GROUP:
        rows = np.pad(rows, ((0, 0), (0, groups * GROUP - columns)), mode="edge")
    return rows.reshape(count, groups, GROUP)


def _half(values: Float32Array, name: str) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise CheckpointError(f"{name} has weights that are not finite or too large to quantise (above 65504)")
    return halves


def _inverse(scales: NDArray[np.float16]) -> Float32Array:
    wide = scales.astype(np.float32)
    inverse: Float32Array = np.divide(np.float32(1), wide, out=np.zeros_like(wide), where=wide != 0)
    return inverse


def _int4_codes(groups: Float32Array, scales: NDArray[np.float16], minimums: NDArray[np.float16]) -> Float32Array:
    steps = (groups - minimums.astype(np.float32)[..., None]) * _inverse(scales)[..., None]
    codes: Float32Array = np.clip(np.rint(steps, out=steps), 0, _INT4_TOP, out=steps)
    return codes


def _squared_error(
    groups: Float32Array, codes: Float32Array, scales: NDArray[np.float16], minimums: NDArray[np.float16]
) -> Float32Array:
    off = codes * scales.astype(np.float32)[..., None]
    off += minimums.astype(np.float32)[..., None]
    off -= groups
    error: Float32Array = np.einsum("rgi,rgi->rg", off, off)
    return error


def _fit(
    groups: Float32Array,
    codes: Float32Array,
    scales: NDArray[np.float16],
    minimums: NDArray[np.float16],
    name: str,
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Scale and minimum of least squared error for the given codes; the old ones where all codes are equal."""
    mean_code, mean_weight = codes.mean(axis=-1), groups.mean(axis=-1)
    spread = codes - mean_code[..., None]
    variance = np.einsum("rgi,rgi->rg", spread, spread)
    covariance = np.einsum("rgi,rgi->rg", spread, groups)
    slope = np.divide(covariance, variance, out=scales.astype(np.float32), where=variance > 0)
    offset = np.where(variance > 0, mean_weight - slope * mean_code, minimums.astype(np.float32))
    return _half(slope, name), _half(offset, name)
