"""The reader of .ckpt: what MindSpore wrote is read as it is, and no other bytes do harm."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore_oracle import MindSpore

from skywork_rt.checkpoints.mindspore.wire import length_prefix, varint
from skywork_rt.checkpoints.tensors.ckpt_file import CKPT_TYPES, CkptFile
from skywork_rt.checkpoints.tensors.weight_file import STORAGE_TYPES
from skywork_rt.errors import CheckpointError, UnsupportedError

ROWS = np.arange(3300, dtype=np.float32).reshape(33, 100)


@pytest.fixture(scope="module")
def written(mindspore: MindSpore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every type, a number without dimensions, a tensor in 13 slices, texts and numbers of append_dict, and a CRC."""
    directory = tmp_path_factory.mktemp("written")
    values = np.array([[1, 0, 2], [4, 3, 5]])
    arrays: dict[str, Any] = {name: values.astype(STORAGE_TYPES[name]) for name in CKPT_TYPES if name != "bfloat16"}
    arrays |= {"bfloat16:bfloat16": values.astype(np.float32), "scalar": np.float32(3.5), "rows": ROWS}
    extra = {"epoch_num": 3, "lr": 0.5, "note": "hello 西安", "flag": True}
    mindspore.save(arrays, directory / "all.ckpt", crc_check=True, append_dict=extra, slice_kib=1)
    return directory / "all.ckpt"


@pytest.mark.slow
def test_what_mindspore_wrote_is_read_in_every_type(written: Path) -> None:
    file = CkptFile(written)
    for name in CKPT_TYPES:
        assert file.tensors[name].dtype == name
        assert file.tensors[name].shape == (2, 3)
        expected = np.array([[1, 0, 2], [4, 3, 5]])
        if name == "bfloat16":
            np.testing.assert_array_equal(file.read(name), expected.astype(np.float32))
            assert file.read_array(name)[1, 2] == 0x40A0  # 5.0
        else:
            np.testing.assert_array_equal(file.read_array(name), expected.astype(STORAGE_TYPES[name]))
    assert file.tensors["scalar"].shape == ()
    assert file.read_array("scalar") == 3.5
    assert file.tensors["epoch_num"].shape == ()
    assert file.read_array("epoch_num") == 3
    assert file.texts == {"note": "hello 西安"}
    assert file.has_crc
    file.check_crc()
    with pytest.raises(UnsupportedError, match="int32"):
        file.read("int32")


@pytest.mark.slow
def test_rows_are_read_across_slices(written: Path) -> None:
    file = CkptFile(written)
    np.testing.assert_array_equal(file.read("rows"), ROWS)
    for start in range(33):
        for stop in range(start, 34):
            np.testing.assert_array_equal(file.read("rows", start, stop), ROWS[start:stop])


@pytest.mark.slow
def test_a_flipped_bit_is_found_by_the_crc(written: Path, tmp_path: Path) -> None:
    content = bytearray(written.read_bytes())
    content[len(content) // 2] ^= 4
    copy = tmp_path / "flipped.ckpt"
    copy.write_bytes(content)
    with pytest.raises(CheckpointError, match="its CRC is"):
        CkptFile(copy).check_crc()


def tensor(name: bytes, dims: tuple[int, ...], kind: bytes, content: bytes) -> bytes:
    """One value of a .ckpt."""
    body = b"".join(b"\x08" + varint(size) for size in dims)
    body += length_prefix(2, len(kind)) + kind + length_prefix(3, len(content)) + content
    value = length_prefix(1, len(name)) + name + length_prefix(2, len(body)) + body
    return length_prefix(1, len(value)) + value


GOOD = tensor(b"a", (2, 2), b"Float16", bytes(8)) + tensor(b"b", (), b"Float32", struct.pack("<f", 1.5))

BAD = {
    "a name twice": (GOOD + tensor(b"a", (2, 2), b"Float16", bytes(8)), "twice"),
    "too little content": (tensor(b"a", (2, 2), b"Float16", bytes(6)), "needs 8 bytes but has 6"),
    "a huge shape": (tensor(b"a", (1 << 61, 1 << 61), b"Float16", b""), "needs"),
    "a negative size": (tensor(b"a", (-1,), b"Float16", b""), "shape"),
    "nine dimensions": (tensor(b"a", (1,) * 9, b"Float16", bytes(2)), "shape"),
    "a length beyond the end": (b"\x0a" + varint(1 << 60) + GOOD, "are there"),
    "a number without an end": (b"\x0a" + b"\xff" * 20, "has no end"),
    "another message": (b"\x12\x03abc", "field 2"),
    "field 0": (b"\x00" * 30, "number 0"),
    "no name": (length_prefix(1, 2) + b"\x12\x00", "no content"),
    "a name that is no text": (tensor(b"\xff", (), b"Int8", b"\x00"), "UTF-8"),
    "a name without end": (tensor(b"n" * 5000, (), b"Int8", b"\x00"), "5000 bytes"),
    "torch's zip": (b"PK\x03\x04" + bytes(20), "torch"),
    "an encrypted file": (bytes.fromhex("d85e3a7f") + bytes(40), "encrypted"),
    "an empty file": (b"", "empty"),
    "a web page": (b"<!DOCTYPE html><html></html>", "web page"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_file_is_refused_with_its_name_and_the_cause(tmp_path: Path, case: str) -> None:
    content, cause = BAD[case]
    path = tmp_path / "bad.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=cause) as caught:
        CkptFile(path)
    assert "bad.ckpt" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (tensor(b"c", (1,), b"Complex64", bytes(8)), "Complex64"),
        (length_prefix(1, 5) + b"\x0a\x01m\x1a\x00", "MapParameter"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "other.ckpt"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match=cause):
        CkptFile(path)


def opens_or_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        file = CkptFile(path)
        for name in file.tensors:
            file.read_array(name)
    except (CheckpointError, UnsupportedError):
        pass


@given(cut=st.integers(1, len(GOOD) - 1))
def test_every_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.ckpt"
    path.write_bytes(GOOD[:cut])
    whole = len(tensor(b"a", (2, 2), b"Float16", bytes(8)))
    if cut == whole:
        assert list(CkptFile(path).tensors) == ["a"]
    else:
        with pytest.raises(CheckpointError):
            CkptFile(path)


@settings(max_examples=300)
@given(changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(GOOD)
    for place, value in changes:
        content[place] = value
    opens_or_refuses(tmp_path_factory.getbasetemp() / "changed.ckpt", bytes(content))


@settings(max_examples=200)
@given(content=st.binary(min_size=1, max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    opens_or_refuses(tmp_path_factory.getbasetemp() / "any.ckpt", b"\x0a" + content)


@pytest.mark.slow
def test_endlessly_many_entries_take_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "many.ckpt"
    path.write_bytes(b"".join(tensor(b"%d" % index, (), b"Int8", b"0") for index in range(100_001)))
    begin = time.process_time()
    with pytest.raises(CheckpointError, match="more than 100000"):
        CkptFile(path)
    assert time.process_time() - begin < 20


def test_only_the_table_is_read_when_a_file_is_opened(tmp_path: Path) -> None:
    """A sparse file of 3 GB."""
    path = tmp_path / "large.ckpt"
    size = 3 << 30
    body = length_prefix(3, size)
    dims = b"\x08" + varint(size) + length_prefix(2, 4) + b"Int8"
    value = length_prefix(1, 1) + b"w" + length_prefix(2, len(dims + body) + size) + dims + body
    head = length_prefix(1, len(value) + size) + value
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    begin = time.process_time()
    assert CkptFile(path).tensors["w"].shape == (size,)
    assert time.process_time() - begin < 1
