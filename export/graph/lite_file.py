"""The constants of a graph file in Lite's own format (.ms), without Lite.

The file is a FlatBuffer (https://flatbuffers.dev/internals/) of the table MetaGraph of MindSpore Lite 2.0's schema
`model.fbs`, with the identifier MSL2. Of its tables we read three. MetaGraph's field 7 is the vector of all tensors. Of
a Tensor, field 1 is the type, 2 the dimensions, 6 the data, 9 the name, and 12 a vector that says where else the data
lie: of its element, field 1 names the file, which is beside the graph, 2 is the first byte, 3 the number of bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.errors import CorruptBundleError

__all__ = ["LiteFile"]

_IDENTIFIER = b"MSL2"
_ALL_TENSORS = 7
_DTYPE, _DIMS, _DATA, _NAME, _EXTERNAL = 1, 2, 6, 9, 12
_LOCATION, _OFFSET, _LENGTH = 1, 2, 3
_FLOAT32 = 43  # TypeId::kNumberTypeFloat32


@dataclass(frozen=True)
class _Place:
    """Where a constant lies: in the graph's own file, or in the one of that name beside it."""

    dims: tuple[int, ...]
    begin: int
    size: int
    beside: str | None = None


class LiteFile:
    """The float32 constants of a graph by name; files are mapped, and read when a constant is.

    Raises CorruptBundleError for a file that is damaged, also when a constant is asked for that lies in one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = _mapped(path)
        self._beside: dict[str, NDArray[np.uint8]] = {}
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
        place = self._places[name]
        if place.dims != shape or place.size != 4 * math.prod(shape):
            raise self._damaged(
                f"the constant {name} has shape {list(place.dims)} in {place.size} bytes, expected {list(shape)}"
            )
        file = self._bytes if place.beside is None else self._file_beside(place.beside)
        if place.begin + place.size > len(file):
            raise self._damaged(f"the constant {name} ends behind the {len(file)} bytes of its file")
        values: Float32Array = file[place.begin : place.begin + place.size].view("<f4").reshape(shape)
        return values

    def _file_beside(self, name: str) -> NDArray[np.uint8]:
        if name not in self._beside:
            if Path(name).name != name or name in ("", ".", ".."):
                raise self._damaged(f"it names the file {name!r}, which is no plain name")
            self._beside[name] = _mapped(self._path.with_name(name))
        return self._beside[name]

    def _constants(self) -> Iterator[tuple[str, _Place]]:
        """Name and place of every float32 tensor that has data."""
        begin, count = self._vector(self._need(self._field(self._follow(0), _ALL_TENSORS), "tensors"), 4)
        for place in range(begin, begin + 4 * count, 4):
            tensor = self._follow(place)
            kind, name = self._field(tensor, _DTYPE), self._field(tensor, _NAME)
            if kind is None or name is None or self._int32(kind) != _FLOAT32:
                continue
            dims, data, external = (self._field(tensor, number) for number in (_DIMS, _DATA, _EXTERNAL))
            if dims is None:
                continue
            if external is not None:
                yield self._text(name), self._external(self._numbers(dims), external)
            elif data is not None:
                yield self._text(name), _Place(self._numbers(dims), *self._vector(data, 1))

    def _external(self, dims: tuple[int, ...], field: int) -> _Place:
        """The one element of the vector at `field`."""
        begin, count = self._vector(field, 4)
        if count != 1:
            raise struct.error(f"a constant lies in {count} files")
        table = self._follow(begin)
        location = self._need(self._field(table, _LOCATION), "name of a file beside it")
        offset, length = (self._int64(self._field(table, number)) for number in (_OFFSET, _LENGTH))
        if offset < 0 or length < 0:
            raise struct.error(f"a constant lies at byte {offset}, {length} bytes")
        return _Place(dims, offset, length, self._text(location))

    # FlatBuffers: offsets are unsigned, relative to where they stand; a table begins with the distance to its vtable.

    def _int32(self, at: int) -> int:
        return int(struct.unpack("<i", self._take(at, 4))[0])

    def _int64(self, at: int | None) -> int:
        """The field's value; 0, which the file leaves out, for None."""
        return 0 if at is None else int(struct.unpack("<q", self._take(at, 8))[0])

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


def _mapped(path: Path) -> NDArray[np.uint8]:
    try:
        return np.memmap(path, np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise CorruptBundleError(f"{path} cannot be read: {error}") from error
