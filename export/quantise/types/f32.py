"""A weight is itself. Codes of a group: float32 [32 inputs][16 rows]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.export.quantise.layout import joined, panels_of
from skywork_rt.export.quantise.weight_type import WeightType

__all__ = ["TYPE"]


def _pack(rows: Float32Array, _name: str) -> NDArray[np.uint8]:
    return joined(None, panels_of(rows).transpose(0, 2, 3, 1))


def _pack_raw(raw: RawTensor, start: int, stop: int) -> NDArray[np.uint8]:
    return _pack(np.ascontiguousarray(raw.blocks[start:stop]).view("<f4"), "")


TYPE = WeightType(
    "f32", scale_bytes=0, code_bytes=2048, pack=_pack, lossless=True, raw_types=("F32",), pack_raw=_pack_raw
)
