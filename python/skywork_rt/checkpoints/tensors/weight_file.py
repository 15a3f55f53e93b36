"""One file of tensors, whatever its format, as the Hugging Face reader sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.errors import CheckpointError

__all__ = ["FLOAT_TYPES", "STORAGE_TYPES", "FloatType", "TensorInfo", "WeightFile", "read_elements", "to_float32"]


@dataclass(frozen=True)
class FloatType:
    """How a type of weights lies in a file: little endian words, and whether they are the top half of a float32."""

    name: str
    storage: np.dtype[np.generic]
    bfloat16: bool = False


FLOAT_TYPES: dict[str, FloatType] = {
    "float32": FloatType("float32", np.dtype("<f4")),
    "float16": FloatType("float16", np.dtype("<f2")),
    "bfloat16": FloatType("bfloat16", np.dtype("<u2"), bfloat16=True),
    "float64": FloatType("float64", np.dtype("<f8")),
}

STORAGE_TYPES: dict[str, np.dtype[np.generic]] = {
    **{name: kind.storage for name, kind in FLOAT_TYPES.items()},
    **{f"{sign}int{bits}": np.dtype(f"<{sign or 'i'}{bits // 8}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bool": np.dtype("?"),
}
"""How every type that a file may hold lies in it; numpy has no bfloat16, whose bits are taken as uint16."""


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype of a tensor, known without reading it. `dtype` is in lower case, as numpy writes it."""

    shape: tuple[int, ...]
    dtype: str


class WeightFile(Protocol):
    """A file whose table of tensors was read and checked when it was opened."""

    @property
    def path(self) -> Path: ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> Float32Array:
        """The tensor, or its rows start to stop, as float32."""
        ...

    def read_array(self, name: str, start: int | None = None, stop: int | None = None) -> NDArray[Any]:
        """The tensor, or its rows start to stop, bit for bit in the type of `STORAGE_TYPES`; C-contiguous."""
        ...


def read_elements(path: Path, storage: np.dtype[Any], offset: int, count: int) -> NDArray[Any]:
    """`count` elements at byte `offset`. Raises CheckpointError when the file ends before."""
    with path.open("rb") as file:
        file.seek(offset)
        values = np.fromfile(file, dtype=storage, count=count)
    if values.size != count:
        raise CheckpointError(
            f"{path.name} is truncated: {count} elements at byte {offset} were expected, {values.size} are there"
        )
    return values


def to_float32(values: NDArray[np.generic], kind: FloatType) -> Float32Array:
    """Widens (or, from float64, rounds) to native float32."""
    if kind.bfloat16:
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.ascontiguousarray(values, dtype=np.float32)
