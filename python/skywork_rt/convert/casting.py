"""The type of numbers that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.tensors.rounding import converted
from skywork_rt.checkpoints.tensors.weight_file import FLOAT_TYPES
from skywork_rt.errors import InvalidArgumentError

__all__ = ["DTYPES", "check_dtype", "in_dtype", "wanted_dtype"]

DTYPES = ("float16", "bfloat16", "float32")
"""What weights may be converted to."""

_LARGEST_FLOAT16 = 65504.0
_BLOCK = 1 << 20


def check_dtype(dtype: str | None) -> None:
    """Raises InvalidArgumentError for a type that is not in `DTYPES`; None keeps every tensor's own."""
    if dtype is not None and dtype not in DTYPES:
        raise InvalidArgumentError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}, or not given")


def wanted_dtype(stored: str, dtype: str | None) -> str:
    """The type to write: whole numbers stay what they are."""
    return dtype if dtype is not None and stored in FLOAT_TYPES else stored


def in_dtype(name: str, values: NDArray[Any], stored: str, wanted: str) -> NDArray[Any]:
    """`values` in the storage of `wanted`, rounded to nearest even.

    Raises InvalidArgumentError when a number is beyond the range of float16: an infinite weight ruins every result.
    """
    result = converted(values, stored, wanted)
    if wanted == "float16" and stored != "float16":
        lost = _infinite(result, wanted) - _infinite(values, stored)
        if lost:
            raise InvalidArgumentError(
                f"tensor {name} has {lost} numbers beyond {_LARGEST_FLOAT16:.0f}, the largest of float16; choose dtype "
                "bfloat16 or float32"
            )
    return result


def _infinite(values: NDArray[Any], stored: str) -> int:
    """How many are infinite; a part at a time, since each takes a copy."""
    flat = values.reshape(-1)
    parts = (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))
    if stored == "bfloat16":
        return sum(int(np.count_nonzero((part & np.uint16(0x7FFF)) == np.uint16(0x7F80))) for part in parts)
    return sum(int(np.count_nonzero(np.isinf(part))) for part in parts)
