"""Protobuf's wire format, taken apart and put together without its package and without any description of messages.

MindSpore's checkpoints and strategy files need five kinds of messages. A reader of our own takes the table of a
checkpoint of any size without its content, and stays within bounds that it sets itself. The format:
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

__all__ = [
    "BYTES",
    "VARINT",
    "Field",
    "FileBytes",
    "WireError",
    "fields",
    "length_prefix",
    "varint",
    "whole_number",
    "whole_numbers",
]

VARINT, BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
_LONGEST_VARINT = 10
_WINDOW = 1 << 14


class WireError(ValueError):
    """The bytes are no protobuf; callers add what file it is."""


class FileBytes:
    """A file that is sliced like bytes, and read as far as it is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._handle = file.fileno()
        self._size = os.fstat(self._handle).st_size
        self._start, self._window = 0, b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, span: slice) -> bytes:
        start, stop, _ = span.indices(self._size)
        if not (self._start <= start and stop <= self._start + len(self._window)):
            self._start = start
            self._window = os.pread(self._handle, max(stop - start, _WINDOW), start)
        return self._window[start - self._start : stop - self._start]


@dataclass(frozen=True)
class Field:
    """One field of a message. A varint has a `value`; a string, bytes or a message lies at `start` to `stop`."""

    number: int
    kind: int
    value: int
    start: int
    stop: int


def fields(data: bytes | FileBytes, start: int, stop: int) -> Iterator[Field]:
    """The fields of the message at `start` to `stop`, in the order of the file. Raises WireError."""
    while start < stop:
        key, position = _read_varint(data, start, stop)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError(f"byte {start} begins a field with the number 0")
        if kind == VARINT:
            value, end = _read_varint(data, position, stop)
            yield Field(number, kind, value, position, end)
        elif kind == BYTES:
            length, position = _read_varint(data, position, stop)
            end = position + length
            if end > stop:
                raise WireError(f"field {number} at byte {start} takes {length} bytes, {stop - position} are there")
            yield Field(number, kind, 0, position, end)
        elif kind in _FIXED:
            end = position + _FIXED[kind]
            if end > stop:
                raise WireError(f"field {number} at byte {start} is cut off")
            yield Field(number, kind, 0, position, end)
        else:
            raise WireError(f"byte {start} begins a field of the unknown kind {kind}")
        start = end


def whole_numbers(data: bytes | FileBytes, field: Field) -> list[int]:
    """The values of a repeated int64 or int32: one a field, or packed into one. Negative ones are two's complement."""
    if field.kind == VARINT:
        return [_signed(field.value)]
    if field.kind != BYTES:
        raise WireError(f"field {field.number} holds no whole numbers")
    values, position = [], field.start
    while position < field.stop:
        value, position = _read_varint(data, position, field.stop)
        values.append(_signed(value))
    return values


def whole_number(data: bytes | FileBytes, field: Field) -> int:
    """The value of a single int64 or int32, in the one form that it has: a varint. Raises WireError for another."""
    if field.kind != VARINT:
        raise WireError(f"field {field.number} holds no whole number")
    return _signed(field.value)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _read_varint(data: bytes | FileBytes, position: int, stop: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[position : min(position + _LONGEST_VARINT, stop)]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position + index + 1
    raise WireError(f"the number at byte {position} has no end")


def varint(value: int) -> bytes:
    """A whole number as protobuf writes it; negative ones take ten bytes."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def length_prefix(number: int, length: int) -> bytes:
    """What stands before the `length` bytes of field `number`."""
    return varint(number << 3 | BYTES) + varint(length)
