"""A weight is itself. Codes of a group: float32 [32 inputs][16 rows]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.export.quantise.layout import GROUP, PANEL_ROWS, joined, panels_of, parted, rows_of
from skywork_rt.export.quantise.weight_type import WeightType

__all__ = ["TYPE"]


def _pack(rows: Float32Array, _name: str) -> NDArray[np.uint8]:
    return joined(None, panels_of(rows).transpose(0, 2, 3, 1))


def _pack_raw(raw: RawTensor, start: int, stop: int) -> NDArray[np.uint8]:
    return _pack(np.ascontiguousarray(raw.blocks[start:stop]).view("<f4"), "")


def _unpack(panels: NDArray[np.uint8], columns: int) -> Float32Array:
    _, codes = parted(panels, 0, _CODE_BYTES)
    values = codes.view("<f4").reshape(*codes.shape[:2], GROUP, PANEL_ROWS)
    return rows_of(values.transpose(0, 3, 1, 2), columns).astype(np.float32, copy=False)


_CODE_BYTES = 2048

TYPE = WeightType(
    "f32",
    scale_bytes=0,
    code_bytes=_CODE_BYTES,
    pack=_pack,
    unpack=_unpack,
    lossless=True,
    raw_types=("F32",),
    pack_raw=_pack_raw,
)
