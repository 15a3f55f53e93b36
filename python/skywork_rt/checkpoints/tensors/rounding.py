"""Numbers of one type as another, rounded to nearest even as torch and mindspore round them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.tensors.weight_file import FLOAT_TYPES, STORAGE_TYPES, to_float32

__all__ = ["as_bfloat16_bits", "converted"]

_BLOCK = 1 << 20  # elements that are in float32 at a time, so that a large tensor takes little beside itself


def as_bfloat16_bits(values: Float32Array) -> NDArray[np.uint16]:
    """The upper halves of float32 values, rounded to nearest even; NaN stays NaN."""
    bits = values.view(np.uint32)
    rounded = bits + (((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF))
    # Rounding may carry the bits of a NaN into those of zero: keep its upper half and make it a quiet one.
    kept = np.where(np.isnan(values), bits | np.uint32(0x0040_0000), rounded)
    return (kept >> np.uint32(16)).astype(np.uint16)


def converted(values: NDArray[Any], dtype: str, wanted: str) -> NDArray[Any]:
    """`values`, stored as `dtype`, in the storage of `wanted`; both are of `FLOAT_TYPES`. The same array when equal.

    float64 goes to bfloat16 through float32, as torch does it. Numbers beyond the range become infinite.
    """
    if dtype == wanted:
        return values
    flat = values.reshape(-1)
    result = np.empty(flat.shape, STORAGE_TYPES[wanted])
    for start in range(0, flat.size, _BLOCK):
        result[start : start + _BLOCK] = _converted(flat[start : start + _BLOCK], dtype, wanted)
    return result.reshape(values.shape)


def _converted(values: NDArray[Any], dtype: str, wanted: str) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        if wanted == "bfloat16":
            return as_bfloat16_bits(to_float32(values, FLOAT_TYPES[dtype]))
        if dtype == "bfloat16":
            values = to_float32(values, FLOAT_TYPES[dtype])
        return values.astype(STORAGE_TYPES[wanted])
