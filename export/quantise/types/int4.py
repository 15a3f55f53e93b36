"""w = scale * code + minimum, 0 <= code <= 15: asymmetric, in 5 bits a weight.

Scales of a group: float16 [16 rows] scales, then [16 rows] minimums. Codes: [4 eights of inputs][16 rows][4] bytes,
where byte b holds input b of the eight in its low and input 4 + b in its high half.

The embedding and the head stay int8: they are few and errors there cost most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.errors import CheckpointError
from skywork_rt.export.quantise.codes import Codes, dequantised, grouped, halves, inverse, to_half
from skywork_rt.export.quantise.layout import GROUP, PANEL_ROWS, filled, joined, parted
from skywork_rt.export.quantise.weight_type import RandomCodes, WeightType

__all__ = ["TYPE", "from_raw", "pack_codes", "quantised"]

_TOP = 15
_REFINEMENTS = 2


def quantised(rows: Float32Array, name: str) -> Codes:
    """From the smallest to the largest weight of a group, then scale and minimum fitted by least squares.

    A fit is kept group by group where it lowers the squared error.
    """
    groups = grouped(rows)
    low, high = groups.min(axis=-1), groups.max(axis=-1)
    scales, minimums = to_half((high - low) / np.float32(_TOP), name), to_half(low, name)
    codes = _codes(groups, scales, minimums)
    error = _squared_error(groups, codes, scales, minimums)
    for _ in range(_REFINEMENTS):
        new_scales, new_minimums = _fit(groups, codes, scales, minimums, name)
        new_codes = _codes(groups, new_scales, new_minimums)
        new_error = _squared_error(groups, new_codes, new_scales, new_minimums)
        better = new_error < error
        if not better.any():
            break
        scales, minimums = np.where(better, new_scales, scales), np.where(better, new_minimums, minimums)
        codes, error = np.where(better[..., None], new_codes, codes), np.where(better, new_error, error)
    return Codes(codes.astype(np.uint8), scales, minimums)


def from_raw(raw: RawTensor, start: int, stop: int) -> Codes:
    """Rows start to stop of a tensor of Q4_1 or Q4_0: the same numbers in another order.

    Q4_0's codes are centred at 8: its minimum is -8 * scale (exact in float16 unless it overflows, which is refused).
    """
    header = 4 if raw.type == "Q4_1" else 2
    blocks = raw.blocks[start:stop].reshape(stop - start, -1, header + GROUP // 2)
    # ggml keeps input i in the low and input i + 16 in the high half of byte i.
    nibbles = blocks[..., header:]
    codes = np.concatenate([nibbles & 0xF, nibbles >> 4], axis=-1)
    scales = halves(blocks[..., :2])
    if raw.type == "Q4_1":
        return Codes(codes, scales, halves(blocks[..., 2:4]))
    minimums = scales.astype(np.float32) * np.float32(-8)
    if not (np.abs(minimums[np.isfinite(minimums)]) <= np.finfo(np.float16).max).all():
        raise CheckpointError("a Q4_0 tensor has a scale above 8188, whose minimum float16 cannot hold")
    return Codes(codes, scales, minimums.astype(np.float16))


def pack_codes(codes: Codes) -> NDArray[np.uint8]:
    if codes.minimums is None:
        raise ValueError("int4 codes have minimums")
    values = filled(codes.codes).view(np.uint8)
    panels, groups = len(values) // PANEL_ROWS, values.shape[1]
    eights = values.reshape(panels, PANEL_ROWS, groups, GROUP // 8, 2, 4)
    nibbles = (eights[..., 0, :] | (eights[..., 1, :] << 4)).transpose(0, 2, 3, 1, 4)
    pairs = np.stack([filled(codes.scales), filled(codes.minimums)], axis=-1)
    return joined(pairs.reshape(panels, PANEL_ROWS, groups, 2).transpose(0, 2, 3, 1), nibbles)


def _codes(groups: Float32Array, scales: NDArray[np.float16], minimums: NDArray[np.float16]) -> Float32Array:
    steps = (groups - minimums.astype(np.float32)[..., None]) * inverse(scales)[..., None]
    codes: Float32Array = np.clip(np.rint(steps, out=steps), 0, _TOP, out=steps)
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
    return to_half(slope, name), to_half(offset, name)


def _unpack(panels: NDArray[np.uint8], columns: int) -> Float32Array:
    scales, codes = parted(panels, _SCALE_BYTES, _CODE_BYTES)
    groups = codes.shape[1]
    eights = codes.reshape(-1, groups, GROUP // 8, PANEL_ROWS, 4).transpose(0, 3, 1, 2, 4)
    nibbles = np.stack([eights & 0xF, eights >> 4], axis=-2)
    of_rows = scales.view("<f2").reshape(-1, groups, 2, PANEL_ROWS).transpose(2, 0, 3, 1).reshape(2, -1, groups)
    return dequantised(Codes(nibbles.reshape(-1, groups, GROUP), of_rows[0], of_rows[1]), columns)


_SCALE_BYTES, _CODE_BYTES = 64, 256

TYPE = WeightType(
    "int4",
    scale_bytes=_SCALE_BYTES,
    code_bytes=_CODE_BYTES,
    pack=lambda rows, name: pack_codes(quantised(rows, name)),
    unpack=_unpack,
    raw_types=("Q4_0", "Q4_1"),
    pack_raw=lambda raw, start, stop: pack_codes(from_raw(raw, start, stop)),
    vocabulary="int8",
    random=RandomCodes(deviation=4.61, mean=7.5),
)
