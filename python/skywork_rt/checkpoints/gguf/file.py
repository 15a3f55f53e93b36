"""Reads the structure of a GGUF file: metadata and the table of tensors, every length checked against the file first.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian). The reader of
the ``gguf`` package trusts the counts in the file and does not end on a damaged one, so it is not used; its tables of
quantisation types and its dequantisation are.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["GgufFile", "GgufTensor"]

_SCALARS: dict[int, str] = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LARGEST_COUNT = 1 << 20  # of metadata entries, and of tensors
_LARGEST_ARRAY = 1 << 24  # items; a vocabulary has 2 ** 18
_LARGEST_DEPTH = 4  # of arrays in arrays


@dataclass(frozen=True)
class GgufTensor:
    """A tensor in the file. `shape` has the fastest dimension last, as numpy writes it (GGUF lists it first)."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    file: Path
    offset: int  # bytes from the start of the file
    size: int  # bytes

    @property
    def rows(self) -> int:
        """Rows of a matrix; a vector is one row."""
        return self.shape[0] if len(self.shape) > 1 else 1

    def blocks(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows start to stop as bytes [rows, bytes a row]. Raises CheckpointError when the file became shorter."""
        row_bytes = self.size // self.rows
        with self.file.open("rb") as file:
            file.seek(self.offset + start * row_bytes)
            data = np.fromfile(file, np.uint8, (stop - start) * row_bytes)
        if data.size != (stop - start) * row_bytes:
            raise CheckpointError(f"{self.file.name} became shorter while it was read: tensor {self.name} is cut")
        return data.reshape(stop - start, row_bytes)


class GgufFile:
    """A GGUF file whose structure was checked. Raises CheckpointError that names the first thing that is wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        refuse_stand_in(path)
        size = path.stat().st_size
        if size < 24:
            raise CheckpointError(f"{path.name} is truncated: it has {size} bytes, a GGUF header takes 24")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            self.metadata, self.tensors = _Parser(data, path).parse()

    @property
    def path(self) -> Path:
        return self._path


class _Parser:
    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self._name = path.name
        self._position = 0

    def parse(self) -> tuple[dict[str, Any], Mapping[str, GgufTensor]]:
        magic = self._take(4)
        if magic != b"GGUF":
            raise CheckpointError(f"{self._name} is no GGUF file: it begins with {magic!r}")
        (version,) = struct.unpack("<I", self._take(4))
        if int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3):
            raise UnsupportedError(
                f"{self._name} is a big-endian GGUF file, for machines of another byte order; fetch the little-endian "
                "file, or convert it with gguf_convert_endian.py of llama.cpp"
            )
        if version == 1:
            raise UnsupportedError(f"{self._name} is GGUF version 1, of 2023; convert the model again")
        if version not in (2, 3):
            raise UnsupportedError(f"{self._name} is GGUF version {version}; little endian versions 2 and 3 are read")
        tensor_count, entry_count = struct.unpack("<QQ", self._take(16))
        for count, what in ((tensor_count, "tensors"), (entry_count, "metadata entries")):
            if count > _LARGEST_COUNT:
                raise CheckpointError(f"{self._name} states {count} {what}; at most {_LARGEST_COUNT} are read")
        metadata = self._metadata(entry_count)
        infos = [self._tensor_info() for _ in range(tensor_count)]
        return metadata, self._place(infos, metadata)

    def _metadata(self, count: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(count):
            key = self._string()
            if key in metadata:
                raise CheckpointError(f"{self._name} has the metadata key {key[:80]!r} twice")
            (kind,) = struct.unpack("<I", self._take(4))
            metadata[key] = self._value(kind, key, 0)
        return metadata

    def _value(self, kind: int, key: str, depth: int) -> Any:
        if kind in _SCALARS:
            code = _SCALARS[kind]
            return struct.unpack(f"<{code}", self._take(struct.calcsize(code)))[0]
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            raise CheckpointError(f"{self._name} has metadata {key[:80]!r} of the unknown type {kind}")
        if depth >= _LARGEST_DEPTH:
            raise CheckpointError(
                f"{self._name} has metadata {key[:80]!r} that nests arrays deeper than {_LARGEST_DEPTH}"
            )
        item, count = struct.unpack("<IQ", self._take(12))
        return self._array(item, count, key, depth)

    def _array(self, item: int, count: int, key: str, depth: int) -> list[Any]:
        smallest = struct.calcsize(_SCALARS[item]) if item in _SCALARS else 8 if item == _STRING else 12
        if count * smallest > len(self._data) - self._position:
            raise CheckpointError(
                f"{self._name} is truncated: metadata {key[:80]!r} states {count} items, more than the file can hold"
            )
        if count > _LARGEST_ARRAY:
            raise CheckpointError(
                f"{self._name} has metadata {key[:80]!r} of {count} items; at most {_LARGEST_ARRAY} are read"
            )
        if item in _SCALARS:
            kind = np.dtype("<" + {"B": "u1", "b": "i1", "?": "?"}.get(_SCALARS[item], _SCALARS[item]))
            values: list[Any] = np.frombuffer(self._take(count * smallest), kind).tolist()
            return values
        return [self._value(item, key, depth + 1) for _ in range(count)]

    def _tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        (dimensions,) = struct.unpack("<I", self._take(4))
        if not 1 <= dimensions <= 4:
            raise CheckpointError(f"{self._name}: tensor {name[:80]!r} has {dimensions} dimensions; 1 to 4 are allowed")
        shape = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))[::-1]
        kind, offset = struct.unpack("<IQ", self._take(12))
        return name, shape, kind, offset

    def _place(
        self, infos: list[tuple[str, tuple[int, ...], int, int]], metadata: Mapping[str, Any]
    ) -> dict[str, GgufTensor]:
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
            raise CheckpointError(f"{self._name} has general.alignment {str(alignment)[:40]}; expected a power of two")
        begin = -(-self._position // alignment) * alignment
        tensors: dict[str, GgufTensor] = {}
        for name, shape, kind, offset in infos:
            if name in tensors:
                raise CheckpointError(f"{self._name} has the tensor {name[:80]!r} twice")
            tensors[name] = self._checked_tensor(name, shape, kind, begin + offset)
        return tensors

    def _checked_tensor(self, name: str, shape: tuple[int, ...], kind: int, offset: int) -> GgufTensor:
        where = f"{self._name}: tensor {name[:80]!r}"
        try:
            quantisation = GGMLQuantizationType(kind)
        except ValueError as error:
            raise UnsupportedError(f"{where} has the unknown type {kind}") from error
        per_block, block_bytes = GGML_QUANT_SIZES[quantisation]
        if 0 in shape or shape[-1] % per_block != 0:
            raise CheckpointError(
                f"{where} has shape {list(shape)}; rows of {quantisation.name} are made of blocks of {per_block}"
            )
        size = math.prod(shape) // per_block * block_bytes
        if offset + size > len(self._data):
            raise CheckpointError(
                f"{self._name} is truncated: tensor {name[:80]!r} ends at byte {offset + size}, "
                f"the file has {len(self._data)}"
            )
        return GgufTensor(name, shape, quantisation, self._path, offset, size)

    def _string(self) -> str:
        (length,) = struct.unpack("<Q", self._take(8))
        raw = self._take(length)
        # Old tokenizers hold tokens that are not whole characters; they come back as the same bytes.
        return raw.decode("utf-8", "surrogateescape")

    def _take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise CheckpointError(
                f"{self._name} is truncated: {count} bytes at byte {self._position} were expected, "
                f"the file has {len(self._data)}"
            )
        taken = self._data[self._position : end]
        self._position = end
        return taken
