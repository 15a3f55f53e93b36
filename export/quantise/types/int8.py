"""w = scale * code, -128 <= code <= 127: symmetric, in 8.5 bits a weight.

Scales of a group: float16 [16 rows]. Codes: int8 [8 fours of inputs][16 rows][4].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.export.quantise.codes import Codes, dequantised, grouped, halves, inverse, to_half
from skywork_rt.export.quantise.layout import GROUP, PANEL_ROWS, filled, joined, parted
from skywork_rt.export.quantise.weight_type import RandomCodes, WeightType

__all__ = ["TYPE", "from_raw", "pack_codes", "quantised"]

_TOP = 127


def quantised(rows: Float32Array, name: str) -> Codes:
    """The largest weight of a group at ±127."""
    groups = grouped(rows)
    largest = np.abs(groups).max(axis=-1)
    scales = to_half(largest / np.float32(_TOP), name)
    codes = np.rint(groups * inverse(scales)[..., None])
    return Codes(np.clip(codes, -_TOP, _TOP).astype(np.int8), scales)


def from_raw(raw: RawTensor, start: int, stop: int) -> Codes:
    """Rows start to stop of a tensor of Q8_0: a scale, then 32 codes."""
    blocks = raw.blocks[start:stop].reshape(stop - start, -1, 2 + GROUP)
    return Codes(blocks[..., 2:].view(np.int8), halves(blocks[..., :2]))


def pack_codes(codes: Codes) -> NDArray[np.uint8]:
    values, scales = filled(codes.codes), filled(codes.scales)
    panels, groups = len(values) // PANEL_ROWS, values.shape[1]
    fours = values.reshape(panels, PANEL_ROWS, groups, GROUP // 4, 4).transpose(0, 2, 3, 1, 4)
    return joined(scales.reshape(panels, PANEL_ROWS, groups).transpose(0, 2, 1), fours)


def _unpack(panels: NDArray[np.uint8], columns: int) -> Float32Array:
    scales, codes = parted(panels, _SCALE_BYTES, _CODE_BYTES)
    groups = codes.shape[1]
    fours = codes.view(np.int8).reshape(-1, groups, GROUP // 4, PANEL_ROWS, 4).transpose(0, 3, 1, 2, 4)
    of_rows = scales.view("<f2").transpose(0, 2, 1).reshape(-1, groups)
    return dequantised(Codes(fours.reshape(-1, groups, GROUP), of_rows), columns)


_SCALE_BYTES, _CODE_BYTES = 32, 512

TYPE = WeightType(
    "int8",
    scale_bytes=_SCALE_BYTES,
    code_bytes=_CODE_BYTES,
    pack=lambda rows, name: pack_codes(quantised(rows, name)),
    unpack=_unpack,
    raw_types=("Q8_0",),
    pack_raw=lambda raw, start, stop: pack_codes(from_raw(raw, start, stop)),
    default=True,
    random=RandomCodes(deviation=73.9, mean=0.0),
)
