"""Reads one .safetensors file tensor by tensor.

The table is checked before anything is read: https://huggingface.co/docs/safetensors describes the format, 8 bytes of
header length, a JSON table, then the tensors without gaps or overlaps. The ``safetensors`` package is not used here
because its numpy reader knows no bfloat16, the most common type of checkpoints.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.tensors.weight_file import (
    FLOAT_TYPES,
    STORAGE_TYPES,
    TensorInfo,
    read_elements,
    to_float32,
)
from skywork_rt.errors import CheckpointError

__all__ = ["SAFETENSORS_TYPES", "SafetensorsFile"]

_LARGEST_HEADER = 100_000_000  # the limit of the format
SAFETENSORS_TYPES: dict[str, str] = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    **{f"int{bits}": f"I{bits}" for bits in (64, 32, 16, 8)},
    **{f"uint{bits}": f"U{bits}" for bits in (64, 32, 16, 8)},
    "bool": "BOOL",
}
"""Our names of types to the file's."""

_OUR_TYPES = {theirs: ours for ours, theirs in SAFETENSORS_TYPES.items()}


class SafetensorsFile:
    """A checked safetensors file. Raises CheckpointError that names the file and the first thing that is wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        header, self._data_start, size = _read_header(path)
        self._offsets: dict[str, int] = {}
        self._tensors: dict[str, TensorInfo] = {}
        spans: list[tuple[int, int, str]] = []
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            info, begin, end = _check_entry(path, name, entry, size - self._data_start)
            self._tensors[name] = info
            self._offsets[name] = begin
            spans.append((begin, end, name))
        _check_spans(path, spans, size - self._data_start)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> Float32Array:
        return to_float32(self.read_array(name, start, stop), FLOAT_TYPES[self._tensors[name].dtype])

    def read_array(self, name: str, start: int | None = None, stop: int | None = None) -> NDArray[Any]:
        info = self._tensors[name]
        storage, shape, begin = STORAGE_TYPES[info.dtype], info.shape, 0
        if start is not None and stop is not None:
            begin, shape = start * math.prod(shape[1:]), (stop - start, *shape[1:])
        offset = self._data_start + self._offsets[name] + begin * storage.itemsize
        return read_elements(self._path, storage, offset, math.prod(shape)).reshape(shape)


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise CheckpointError(f"{path.name} is truncated: it has {size} bytes, its header length alone takes 8")
        (length,) = struct.unpack("<Q", prefix)
        if length > _LARGEST_HEADER:
            raise CheckpointError(f"{path.name} states a header of {length} bytes; the format allows {_LARGEST_HEADER}")
        if 8 + length > size:
            raise CheckpointError(f"{path.name} is truncated: its header takes {8 + length} bytes, the file has {size}")
        raw = file.read(length)
    return _parse_header(path, raw), 8 + length, size


def _parse_header(path: Path, raw: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise CheckpointError(f"{path.name} names a tensor or a field twice in its header")
        return table

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} has a header that is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path.name} has a header that is a {type(header).__name__}; expected an object")
    return header


def _check_entry(path: Path, name: str, entry: Any, data_size: int) -> tuple[TensorInfo, int, int]:
    where = f"{path.name}: tensor {name}"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where} is described by a {type(entry).__name__}; expected an object")
    dtype = str(entry.get("dtype"))
    shape, offsets = _counts(entry.get("shape")), _counts(entry.get("data_offsets"))
    if shape is None:
        raise CheckpointError(f"{where} has no shape that is a list of whole numbers")
    if offsets is None or len(offsets) != 2:
        raise CheckpointError(f"{where} has no data_offsets of two whole numbers")
    begin, end = offsets
    if not begin <= end <= data_size:
        raise CheckpointError(f"{where} takes bytes {begin} to {end}, but the file holds {data_size} bytes of data")
    ours = _OUR_TYPES.get(dtype)
    if ours is None:
        raise CheckpointError(
            f"{where} has dtype {dtype[:40]!r}, which is not supported; known are {', '.join(_OUR_TYPES)}"
        )
    needed = math.prod(shape) * STORAGE_TYPES[ours].itemsize
    if end - begin != needed:
        raise CheckpointError(f"{where} of shape {shape} and dtype {dtype} needs {needed} bytes but has {end - begin}")
    return TensorInfo(tuple(shape), ours), begin, end


def _counts(value: Any) -> list[int] | None:
    valid = (
        isinstance(value, list) and len(value) <= 8 and all(type(item) is int and 0 <= item < 2**62 for item in value)
    )
    return value if valid else None


def _check_spans(path: Path, spans: list[tuple[int, int, str]], data_size: int) -> None:
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            problem = (
                "overlaps the tensor before it" if begin < position else f"leaves a gap of {begin - position} bytes"
            )
            raise CheckpointError(f"{path.name}: tensor {name} at byte {begin} {problem}")
        position = end
    if position != data_size:
        raise CheckpointError(f"{path.name} has {data_size - position} bytes after its last tensor")
