"""Reads one MindSpore .ckpt tensor by tensor, without mindspore.

The file is one protobuf message, `Checkpoint { repeated Value value = 1 }`, with `Value { string tag = 1; TensorProto
tensor = 2; MapTensorProto maptensor = 3 }` and `TensorProto { repeated int64 dims = 1; string tensor_type = 2; bytes
tensor_content = 3 }`; contents are little endian in C order. mindspore.save_checkpoint (2.7.2) cuts a tensor of more
than 512 MiB into values with the same tag, one after the other, each with the whole shape. After the message may stand
`crc_num` and the CRC-32 of all that precedes, ten bytes, the most significant one first.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.mindspore.wire import BYTES, Field, FileBytes, WireError, fields, whole_numbers
from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.tensors.weight_file import FLOAT_TYPES, STORAGE_TYPES, TensorInfo, to_float32
from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError, UnsupportedError
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["CKPT_TYPES", "CRC_MARK", "CkptFile"]

CKPT_TYPES: dict[str, str] = {
    "float16": "Float16",
    "float32": "Float32",
    "float64": "Float64",
    "bfloat16": "BFloat16",
    "int8": "Int8",
    "int16": "Int16",
    "int32": "Int32",
    "int64": "Int64",
    "uint8": "UInt8",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
    "bool": "Bool",
}
"""Our names of types to the file's."""

CRC_MARK = b"crc_num"
_CRC_BYTES = 10
_OUR_TYPES = {theirs: ours for ours, theirs in CKPT_TYPES.items()}
_TEXT = "str"  # strings of append_dict, UTF-32
_LONGEST_TAG, _LONGEST_TYPE, _LONGEST_TEXT, _MOST_DIMS, _MOST_VALUES = 4096, 64, 1 << 20, 8, 100_000
_BLOCK = 1 << 24
_ENCRYPTED = 0x7F3A5ED8.to_bytes(4, "little")
_OTHERS = {
    b"PK\x03\x04": "a zip archive, such as torch writes: a .ckpt of PyTorch is no .ckpt of MindSpore",
    _ENCRYPTED: "encrypted (enc_key of mindspore.save_checkpoint): load it with MindSpore and save it without a key",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
}


@dataclass
class _Entry:
    """A tensor of the table: the spans of the file that its content lies in."""

    shape: tuple[int, ...]
    type: str
    spans: list[tuple[int, int]] = field(default_factory=list)

    def bytes(self) -> int:
        return sum(stop - start for start, stop in self.spans)


class CkptFile:
    """A checked .ckpt. Raises CheckpointError that names the file and the first thing that is wrong, UnsupportedError
    for tensors of kinds that are not read (hash tables of embeddings, complex numbers).

    Opening it reads the table alone. Entries that hold text (append_dict of mindspore.save_checkpoint) are in `texts`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        refuse_stand_in(path)
        self._entries: dict[str, _Entry] = {}
        self._texts: dict[str, str] = {}
        with path.open("rb") as file:
            data = FileBytes(file)
            self._message_bytes, self._crc = _find_crc(data)
            _refuse_others(path, data)
            try:
                self._read_table(data)
            except WireError as error:
                raise CheckpointError(f"{path.name} is damaged or no MindSpore checkpoint: {error}") from error
        self._tensors = {name: self._checked(name, entry) for name, entry in self._entries.items()}

    def _read_table(self, data: FileBytes) -> None:
        last = ""
        for index, value in enumerate(fields(data, 0, self._message_bytes)):
            if value.number != 1 or value.kind != BYTES:
                raise WireError(f"byte {value.start} belongs to field {value.number}; expected one of the tensors")
            if index >= _MOST_VALUES:
                raise WireError(f"it has more than {_MOST_VALUES} entries")
            tag, entry = _read_value(data, value, self._path)
            if entry.type == _TEXT:
                self._texts[tag] = _read_text(data, entry, tag)
            elif tag not in self._entries:
                self._entries[tag] = entry
            elif tag == last and (entry.shape, entry.type) == (self._entries[tag].shape, self._entries[tag].type):
                self._entries[tag].spans += entry.spans  # the next slice
            else:
                raise CheckpointError(f"{self._path.name} has the tensor {tag} twice")
            last = tag

    def _checked(self, name: str, entry: _Entry) -> TensorInfo:
        where = f"{self._path.name}: tensor {name}"
        dtype = _OUR_TYPES.get(entry.type)
        if dtype is None:
            raise UnsupportedError(
                f"{where} has type {entry.type!r}, which is not read; known are {', '.join(_OUR_TYPES)}"
            )
        # MindSpore writes a number of append_dict as dims [0] with one element.
        shape = () if entry.shape == (0,) and entry.bytes() else entry.shape
        needed = math.prod(shape) * STORAGE_TYPES[dtype].itemsize
        if entry.bytes() != needed:
            raise CheckpointError(
                f"{where} of shape {list(shape)} and type {entry.type} needs {needed} bytes but has {entry.bytes()}"
            )
        return TensorInfo(shape, dtype)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    @property
    def texts(self) -> Mapping[str, str]:
        """Entries that are text, such as append_dict={"note": "..."} leaves them."""
        return self._texts

    @property
    def has_crc(self) -> bool:
        """Whether it was saved with crc_check=True."""
        return self._crc is not None

    def check_crc(self, progress: Progress = no_progress) -> None:
        """Reads the whole file and compares its checksum, when it has one. Raises CheckpointError."""
        if self._crc is None:
            return
        found, done = 0, 0
        with self._path.open("rb") as file:
            while done < self._message_bytes:
                block = file.read(min(_BLOCK, self._message_bytes - done))
                if not block:
                    raise CheckpointError(f"{self._path.name} became shorter while it was read")
                found = binascii.crc32(block, found)
                done += len(block)
                progress("check CRC", done, self._message_bytes)
        if found != self._crc:
            raise CheckpointError(
                f"{self._path.name} is damaged: its CRC is {found:#010x}, it states {self._crc:#010x}"
            )

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> Float32Array:
        """The tensor, or its rows start to stop, as float32. Raises UnsupportedError for whole numbers."""
        dtype = self._tensors[name].dtype
        if dtype not in FLOAT_TYPES:
            raise UnsupportedError(f"{self._path.name}: tensor {name} has dtype {dtype}, which is no type of weights")
        return to_float32(self.read_array(name, start, stop), FLOAT_TYPES[dtype])

    def read_array(self, name: str, start: int | None = None, stop: int | None = None) -> NDArray[Any]:
        """The tensor, or its rows start to stop, as it is stored; bfloat16 as uint16."""
        info = self._tensors[name]
        storage, shape = STORAGE_TYPES[info.dtype], info.shape
        begin = 0
        if start is not None and stop is not None:
            begin, shape = start * math.prod(shape[1:]), (stop - start, *shape[1:])
        values = np.empty(shape, storage)
        self._fill(name, memoryview(values.reshape(-1).view(np.uint8).data), begin * storage.itemsize)
        return values

    def read_bytes(self, name: str) -> bytes:
        """The tensor's bytes, little endian in C order."""
        return self.read_array(name).tobytes()

    def _fill(self, name: str, target: memoryview, offset: int) -> None:
        """Reads the content from byte `offset` of the tensor on into all of `target`, across slices."""
        done = 0
        with self._path.open("rb", buffering=0) as file:
            for first, last in self._entries[name].spans:
                length = last - first
                if offset < length and done < len(target):
                    wanted = min(length - offset, len(target) - done)
                    file.seek(first + offset)
                    self._read_into(file, name, target[done : done + wanted])
                    done += wanted
                    offset = 0
                else:
                    offset = max(0, offset - length)

    def _read_into(self, file: Any, name: str, target: memoryview) -> None:
        done = 0
        while done < len(target):
            count = file.readinto(target[done:])
            if not count:
                raise CheckpointError(f"{self._path.name} became shorter while tensor {name} was read")
            done += count


def _find_crc(data: FileBytes) -> tuple[int, int | None]:
    """Bytes of the message, and the checksum behind it."""
    size = len(data)
    tail = data[max(0, size - len(CRC_MARK) - _CRC_BYTES) : size]
    if tail.startswith(CRC_MARK) and len(tail) == len(CRC_MARK) + _CRC_BYTES:
        return size - len(tail), int.from_bytes(tail[len(CRC_MARK) :], "big")
    return size, None


def _refuse_others(path: Path, data: FileBytes) -> None:
    head = data[0:8]
    kind = next((text for magic, text in _OTHERS.items() if head.startswith(magic)), None)
    if kind is not None:
        raise CheckpointError(f"{path.name} is no MindSpore checkpoint but {kind}")


def _read_value(data: FileBytes, value: Field, path: Path) -> tuple[str, _Entry]:
    tag: str | None = None
    entry: _Entry | None = None
    for part in fields(data, value.start, value.stop):
        if part.number == 1 and part.kind == BYTES and tag is None:
            tag = _text(data, part, _LONGEST_TAG)
        elif part.number == 2 and part.kind == BYTES and entry is None:
            entry = _read_tensor(data, part)
        elif part.number == 3:
            raise UnsupportedError(
                f"{path.name}: {tag or 'an entry'} is a MapParameter (a hash table), which is not read"
            )
        else:
            raise WireError(
                f"byte {part.start} belongs to field {part.number} of an entry, which is there once at most"
            )
    if tag is None or entry is None:
        raise WireError(f"the entry at byte {value.start} has no {'name' if tag is None else 'tensor'}")
    return tag, entry


def _read_tensor(data: FileBytes, tensor: Field) -> _Entry:
    dims: list[int] = []
    kind, span = "", None
    for part in fields(data, tensor.start, tensor.stop):
        if part.number == 1 and part.stop - part.start <= 10 * _MOST_DIMS:
            dims += whole_numbers(data, part)
        elif part.number == 2 and part.kind == BYTES and not kind:
            kind = _text(data, part, _LONGEST_TYPE)
        elif part.number == 3 and part.kind == BYTES and span is None:
            span = (part.start, part.stop)
        else:
            raise WireError(f"byte {part.start} belongs to field {part.number} of a tensor, which it cannot be")
        if len(dims) > _MOST_DIMS or any(not 0 <= size < 1 << 62 for size in dims):
            raise WireError(f"the tensor at byte {tensor.start} has a shape {dims} that no tensor has")
    if span is None:
        raise WireError(f"the tensor at byte {tensor.start} has no content")
    return _Entry(tuple(dims), kind, [span])


def _text(data: FileBytes, part: Field, longest: int) -> str:
    if part.stop - part.start > longest:
        raise WireError(
            f"the name at byte {part.start} has {part.stop - part.start} bytes; at most {longest} are taken"
        )
    try:
        return data[part.start : part.stop].decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"the name at byte {part.start} is not UTF-8") from error


def _read_text(data: FileBytes, entry: _Entry, tag: str) -> str:
    start, stop = entry.spans[0]
    if stop - start > _LONGEST_TEXT:
        raise WireError(f"the text {tag} has {stop - start} bytes; at most {_LONGEST_TEXT} are taken")
    try:
        return data[start:stop].decode("utf-32-le")
    except UnicodeDecodeError as error:
        raise WireError(f"the text {tag} is not UTF-32") from error
