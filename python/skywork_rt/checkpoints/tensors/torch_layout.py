"""The bytes of a pytorch_model.bin: a zip archive whose members are stored, as torch.save writes since version 1.6.

``zipfile`` writes one member after the other and cannot go on with an archive that was interrupted, so the records are
made here. The format: PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.5.3 (sizes and
offsets from 4 GiB on).
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skywork_rt.checkpoints.tensors.file_layout import TensorSpec
from skywork_rt.checkpoints.tensors.torch_pickle_writer import STORAGES, state_dict_pickle
from skywork_rt.errors import UnsupportedError

__all__ = ["TorchLayout"]

_ROOT = "archive"
_LARGE = 0xFFFF_FFFF
_ZIP64_TAG, _PADDING_TAG = 0x0001, 0x4246  # the second one is torch's, "FB"
_ALIGNMENT = 64
_DATE = 0x0021  # 1980-01-01, the first one that there is: same weights, same bytes
_VERSION = 45  # the first one with sizes from 4 GiB on


@dataclass(frozen=True)
class _Member:
    name: str
    start: int
    size: int

    def local_header(self, checksum: int) -> bytes:
        """Its length does not depend on the checksum; contents begin at multiples of 64 bytes, as torch's do."""
        name = self.name.encode()
        extra = struct.pack("<HHQQ", _ZIP64_TAG, 16, self.size, self.size) if self.size >= _LARGE else b""
        padding = -(self.start + 30 + len(name) + len(extra) + 4) % _ALIGNMENT
        extra += struct.pack("<HH", _PADDING_TAG, padding) + b"Z" * padding
        size = min(self.size, _LARGE)
        fixed = (b"PK\x03\x04", _VERSION, 0, 0, 0, _DATE, checksum, size, size, len(name), len(extra))
        return struct.pack("<4sHHHHHIIIHH", *fixed) + name + extra

    def directory_entry(self, checksum: int) -> bytes:
        name, size, start = self.name.encode(), self.size, self.start
        large = b"".join(struct.pack("<Q", value) for value in (size, size) if size >= _LARGE)
        large += struct.pack("<Q", start) if start >= _LARGE else b""
        extra = struct.pack("<HH", _ZIP64_TAG, len(large)) + large if large else b""
        sizes = (min(size, _LARGE), min(size, _LARGE), len(name), len(extra), 0, 0, 0, 0, min(start, _LARGE))
        fixed = (b"PK\x01\x02", _VERSION, _VERSION, 0, 0, 0, _DATE, checksum, *sizes)
        return struct.pack("<4sHHHHHHIIIHHHHHII", *fixed) + name + extra

    @property
    def stop(self) -> int:
        return self.start + len(self.local_header(0)) + self.size


class TorchLayout:
    """See `FileLayout`. Raises UnsupportedError for a type of numbers that torch's storages do not have."""

    def __init__(self, tensors: Sequence[TensorSpec]) -> None:
        for tensor in tensors:
            if tensor.dtype not in STORAGES:
                raise UnsupportedError(
                    f"tensor {tensor.name} has dtype {tensor.dtype}, which a .bin does not hold; write safetensors"
                )
        self._small: list[tuple[_Member, bytes]] = []
        self._head = b""
        for name, content in (("data.pkl", state_dict_pickle(tensors)), ("byteorder", b"little")):
            self._head += self._add_small(name, len(self._head), content)
        self._members: list[_Member] = []
        position = len(self._head)
        for index, tensor in enumerate(tensors):
            self._members.append(_Member(f"{_ROOT}/data/{index}", position, tensor.nbytes))
            position = self._members[-1].stop

    def _add_small(self, name: str, start: int, content: bytes) -> bytes:
        member = _Member(f"{_ROOT}/{name}", start, len(content))
        self._small.append((member, content))
        return member.local_header(binascii.crc32(content)) + content

    @property
    def head(self) -> bytes:
        return self._head

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        return [(member.start, member.stop) for member in self._members]

    def pieces(self, index: int, content: memoryview) -> Iterator[bytes | memoryview]:
        yield self._members[index].local_header(binascii.crc32(content))
        yield content

    def tail(self, checksums: Sequence[int]) -> bytes:
        version = _Member(f"{_ROOT}/version", self._members[-1].stop if self._members else len(self._head), 2)
        content = version.local_header(binascii.crc32(b"3\n")) + b"3\n"
        entries = [(member, binascii.crc32(text)) for member, text in self._small]
        entries += [*zip(self._members, checksums, strict=True), (version, binascii.crc32(b"3\n"))]
        directory = b"".join(member.directory_entry(checksum) for member, checksum in entries)
        return content + directory + _end(len(entries), version.stop, len(directory))


def _end(count: int, start: int, size: int) -> bytes:
    """The records behind the directory, in both forms, as torch writes them."""
    fixed = (b"PK\x06\x06", 44, _VERSION, _VERSION, 0, 0, count, count, size, start)
    record = struct.pack("<4sQHHIIQQQQ", *fixed)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, start + size, 1)
    few = min(count, 0xFFFF)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, few, few, min(size, _LARGE), min(start, _LARGE), 0)
    return record + locator + end
