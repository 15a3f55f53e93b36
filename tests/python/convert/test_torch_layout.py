"""pytorch_model.bin as we write it: what torch was seen to load, and archives beyond 4 GiB."""

from __future__ import annotations

import binascii
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from skywork_rt.checkpoints.tensors.file_layout import TensorSpec
from skywork_rt.checkpoints.tensors.torch_file import TorchFile
from skywork_rt.checkpoints.tensors.torch_layout import TorchLayout
from skywork_rt.errors import UnsupportedError

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b.weight": np.arange(4, dtype=np.float16),
    "c.count": np.array(7, np.int64),
    "d.weight": np.array([[0x3F80], [0xC000]], np.uint16),  # 1 and -2 as bfloat16
    "西安": np.array([True, False]),
}
DTYPES = {"d.weight": "bfloat16"}

LOADED = "17d64536ba74813606ea2893b9f83b775e6da06c452d3a7b5536d82904cc67fc"
"""torch.load of 2.14.1, with weights_only=True, with mmap=True and without, gave these arrays for a file of this digest
(2026-11-26)."""


def written(path: Path) -> Path:
    specs = [TensorSpec(name, a.shape, DTYPES.get(name, str(a.dtype))) for name, a in ARRAYS.items()]
    layout = TorchLayout(specs)
    parts = [layout.head]
    for index, values in enumerate(ARRAYS.values()):
        parts += [bytes(piece) for piece in layout.pieces(index, memoryview(values.tobytes()))]
    path.write_bytes(b"".join(parts) + layout.tail([binascii.crc32(a.tobytes()) for a in ARRAYS.values()]))
    return path


def test_the_bytes_are_those_that_torch_was_seen_to_load(tmp_path: Path) -> None:
    path = written(tmp_path / "pytorch_model.bin")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == LOADED
    file = TorchFile(path)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(file.read_array(name), values)


def test_contents_begin_where_memory_maps_want_them(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path / "pytorch_model.bin")) as archive:
        assert archive.testzip() is None
        raw = (tmp_path / "pytorch_model.bin").read_bytes()
        for info in archive.infolist():
            name, extra = (int.from_bytes(raw[info.header_offset + at :][:2], "little") for at in (26, 28))
            assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_sizes_and_offsets_beyond_4_gib(tmp_path: Path) -> None:
    """A sparse file of 4.7 GB; torch loaded one like it."""
    specs = [TensorSpec("large", (1 << 16, 36000), "bfloat16"), TensorSpec("small", (3,), "float32")]
    layout, values = TorchLayout(specs), np.array([1, 2, 3], np.float32)
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.write(layout.head + next(iter(layout._members)).local_header(0))
        file.seek(layout.spans[0][1])
        for piece in layout.pieces(1, memoryview(values.tobytes())):
            file.write(piece)
        file.write(layout.tail([0, binascii.crc32(values.tobytes())]))
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        assert sizes["archive/data/0"] == specs[0].nbytes > 1 << 32
        assert archive.read("archive/data/1") == values.tobytes()
    read = TorchFile(path)
    assert read.tensors["large"].shape == (1 << 16, 36000)
    np.testing.assert_array_equal(read.read_array("small"), values)
    assert not read.read_array("large", 65535, 65536).any()


def test_types_that_torch_has_no_storage_for_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="tensor x has dtype uint32"):
        TorchLayout([TensorSpec("x", (2,), "uint32")])
