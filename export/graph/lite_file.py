"""The constants of a graph file in Lite's own format (.ms), without Lite.

The file is a FlatBuffer (https://flatbuffers.dev/internals/) of the table MetaGraph of MindSpore Lite 2.0's schema
`model.fbs`, with the identifier MSL2. Of its tables we read two: MetaGraph's field 7 is the vector of all tensors; of a
Tensor, field 1 is the type, 2 the dimensions, 6 the data, 9 the name and 12 says that the data lie in another file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.errors import CorruptBundleError, UnsupportedError

__all__ = ["LiteFile"]

_IDENTIFIER = b"MSL2"
_ALL_TENSORS = 7
_DTYPE, _DIMS, _DATA, _NAME, _EXTERNAL = 1, 2, 6, 9, 12
_FLOAT32 = 43  # TypeId::kNumberTypeFloat32


class LiteFile:
    """The float32 constants of a graph by name; the file is mapped, and read when a constant is.

    Raises CorruptBundleError for a file that is damaged, UnsupportedError for one whose constants lie beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._bytes: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise CorruptBundleError(f"{path} cannot be read: {error}") from error
        if bytes(self._bytes[4:8]) != _IDENTIFIER:
            raise self._damaged(f"it has no identifier {_IDENTIFIER.decode()}")
        try:
            self._places = dict(self._constants())
        except (struct.error, UnicodeDecodeError, OverflowError) as error:
            raise self._damaged(str(error)) from error

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def constant(self, name: str, shape: tuple[int, ...]) -> Float32Array:
        """The constant `name`, float32 of this shape. The array is a view of the file."""
        if name not in self._places:
            raise self._damaged(f"it has no constant {name}")
        dims, begin, size = self._places[name]
        if dims != shape or size != 4 * math.prod(shape):
            raise self._damaged(f"the constant {name} has shape {list(dims)} in {size} bytes, expected {list(shape)}")
        values: Float32Array = self._bytes[begin : begin + size].view("<f4").reshape(shape)
        return values

    def _constants(self) -> Iterator[tuple[str, tuple[tuple[int, ...], int, int]]]:
        """Name, dimensions, first byte and bytes of every float32 tensor that has data."""
        begin, count = self._vector(self._need(self._field(self._follow(0), _ALL_TENSORS), "tensors"), 4)
        for place in range(begin, begin + 4 * count, 4):
            tensor = self._follow(place)
            kind, name = self._field(tensor, _DTYPE), self._field(tensor, _NAME)
            if kind is None or name is None or self._int32(kind) != _FLOAT32:
                continue
            if self._field(tensor, _EXTERNAL) is not None:
                raise UnsupportedError(
                    f"the weights of {self._path.name} lie in a file beside it, which only Lite reads: export the "
                    "model with weights for native too (--for lite,native --weights f32)"
                )
            data, dims = self._field(tensor, _DATA), self._field(tensor, _DIMS)
            if data is not None and dims is not None:
                yield self._text(name), (self._numbers(dims), *self._vector(data, 1))

    # FlatBuffers: offsets are unsigned, relative to where they stand; a table begins with the distance to its vtable.

    def _int32(self, at: int) -> int:
        return int(struct.unpack("<i", self._take(at, 4))[0])

    def _follow(self, at: int) -> int:
        return at + int(struct.unpack("<I", self._take(at, 4))[0])

    def _field(self, table: int, index: int) -> int | None:
        """Where a field of a table stands; None when the file leaves it out."""
        vtable = table - self._int32(table)
        (size,) = struct.unpack("<H", self._take(vtable, 2))
        entry = 4 + 2 * index
        if entry + 2 > size:
            return None
        (offset,) = struct.unpack("<H", self._take(vtable + entry, 2))
        return table + offset if offset else None

    def _vector(self, at: int, item: int) -> tuple[int, int]:
        """First byte and number of elements, all of which the file has."""
        begin = self._follow(at) + 4
        (count,) = struct.unpack("<I", self._take(begin - 4, 4))
        if begin + count * item > len(self._bytes):
            raise struct.error(f"a vector of {count} elements at byte {begin} ends behind the file")
        return begin, count

    def _numbers(self, at: int) -> tuple[int, ...]:
        begin, count = self._vector(at, 4)
        return struct.unpack(f"<{count}i", self._take(begin, 4 * count))

    def _text(self, at: int) -> str:
        begin, count = self._vector(at, 1)
        return self._take(begin, count).decode("utf-8")

    def _take(self, at: int, count: int) -> bytes:
        if not 0 <= at <= len(self._bytes) - count:
            raise struct.error(f"{count} bytes at {at} lie outside of the file's {len(self._bytes)}")
        return bytes(self._bytes[at : at + count])

    def _need(self, place: int | None, what: str) -> int:
        if place is None:
            raise self._damaged(f"it has no {what}")
        return place

    def _damaged(self, why: str) -> CorruptBundleError:
        return CorruptBundleError(f"{self._path} is no graph of MindSpore Lite that this version reads: {why}")
