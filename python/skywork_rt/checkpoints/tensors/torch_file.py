"""Reads one pytorch_model.bin (torch.save since version 1.6: a zip archive) tensor by tensor, without torch."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.tensors.torch_pickle import StorageRef, TensorRef, read_tensor_table
from skywork_rt.checkpoints.tensors.weight_file import (
    FLOAT_TYPES,
    STORAGE_TYPES,
    TensorInfo,
    read_elements,
    to_float32,
)
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["TorchFile"]

_LOCAL_HEADER = struct.Struct("<4s22xHH")


class TorchFile:
    """A checked torch archive. Raises CheckpointError that names the file and the first thing that is wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                root = _root(archive, path)
                _check_byte_order(archive, root, path)
                self._refs = read_tensor_table(_read_member(archive, f"{root}data.pkl", path), f"{path.name}: data.pkl")
                self._storages = {
                    ref.storage: _storage_offset(archive, root, ref.storage, path) for ref in self._refs.values()
                }
        except zipfile.BadZipFile as error:
            raise CheckpointError(_not_a_zip(path, error)) from error
        self._tensors = {name: TensorInfo(ref.shape, ref.storage.dtype) for name, ref in self._refs.items()}

    @property
    def path(self) -> Path:
        return self._path

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> Float32Array:
        return to_float32(self.read_array(name, start, stop), FLOAT_TYPES[self._tensors[name].dtype])

    def read_array(self, name: str, start: int | None = None, stop: int | None = None) -> NDArray[Any]:
        ref = self._refs[name]
        if start is not None and stop is not None:
            ref = TensorRef(ref.storage, ref.offset + start * ref.stride[0], (stop - start, *ref.shape[1:]), ref.stride)
        storage = STORAGE_TYPES[ref.storage.dtype]
        if math.prod(ref.shape) == 0:
            return np.zeros(ref.shape, storage)
        span = 1 + sum((size - 1) * step for size, step in zip(ref.shape, ref.stride, strict=True))
        begin = self._storages[ref.storage] + ref.offset * storage.itemsize
        flat = read_elements(self._path, storage, begin, span)
        strides = tuple(step * storage.itemsize for step in ref.stride)
        view = np.lib.stride_tricks.as_strided(flat, ref.shape, strides, writeable=False)
        return np.ascontiguousarray(view).reshape(ref.shape)


def _not_a_zip(path: Path, error: zipfile.BadZipFile) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:1] == b"\x80":
        return f"{path.name} is in torch's format from before 1.6; load it with torch and save it again"
    if start == b"PK\x03\x04":
        return f"{path.name} is truncated: it begins as a zip archive and has no directory at its end"
    return f"{path.name} is no torch checkpoint: {error}"


def _root(archive: zipfile.ZipFile, path: Path) -> str:
    tables = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(tables) != 1:
        raise CheckpointError(f"{path.name} has {len(tables)} members called data.pkl; a torch checkpoint has one")
    return tables[0][: -len("data.pkl")]


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    info = _stored_member(archive, name, path)
    if info.file_size > 1 << 30:
        raise CheckpointError(f"{path.name}: {name} has {info.file_size} bytes; a table of tensors is far smaller")
    return archive.read(info)


def _stored_member(archive: zipfile.ZipFile, name: str, path: Path) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise CheckpointError(f"{path.name} lacks the member {name}") from error
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:
        raise UnsupportedError(f"{path.name}: {name} is compressed or encrypted; torch stores members as they are")
    return info


def _check_byte_order(archive: zipfile.ZipFile, root: str, path: Path) -> None:
    if f"{root}byteorder" in archive.namelist():
        order = _read_member(archive, f"{root}byteorder", path)
        if order != b"little":
            raise UnsupportedError(f"{path.name} has byte order {order[:20]!r}; only little endian is read")


def _storage_offset(archive: zipfile.ZipFile, root: str, storage: StorageRef, path: Path) -> int:
    """Where the storage's bytes begin in the file."""
    info = _stored_member(archive, f"{root}data/{storage.key}", path)
    item = STORAGE_TYPES[storage.dtype].itemsize
    if info.file_size < storage.elements * item:
        raise CheckpointError(
            f"{path.name}: storage {storage.key} of {storage.elements} {storage.dtype} elements needs "
            f"{storage.elements * item} bytes but has {info.file_size}"
        )
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER.size)
    if len(header) != _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
        raise CheckpointError(
            f"{path.name} is damaged: storage {storage.key} has no header at byte {info.header_offset}"
        )
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    begin: int = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    if begin + info.file_size > path.stat().st_size:
        raise CheckpointError(f"{path.name} is truncated: storage {storage.key} ends after the file does")
    return begin
