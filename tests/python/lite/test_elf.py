"""Edits of shared objects: what changes, what stays, and files that are not what they should be."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic_lite

from skywork_rt.lite.elf import ElfError, ElfImage
from skywork_rt.lite.release import Release


@pytest.fixture
def libraries(built_wheel: tuple[Path, Release], tmp_path: Path) -> Path:
    synthetic_lite.build_libraries(tmp_path)
    return tmp_path


def test_renames_a_library_in_its_own_name_and_in_those_that_need_it(libraries: Path) -> None:
    names = {"libmindspore_core.so": "libskyworkrt_core.so"}
    for file in ("libmindspore_core.so", "libmain.so"):
        assert ElfImage.map_file(libraries / file, writable=True).rename_libraries(names) == 1
    assert ElfImage.map_file(libraries / "libmindspore_core.so").soname == "libskyworkrt_core.so"
    needed = ElfImage.map_file(libraries / "libmain.so").needed
    assert "libskyworkrt_core.so" in needed
    assert "libmindspore_glog.so.0" in needed


def test_weakens_only_the_symbols_of_the_namespace(libraries: Path) -> None:
    image = ElfImage.map_file(libraries / "libmindspore_core.so", writable=True)
    before = image.unique_symbols()
    assert any("9mindspore" in name for name in before)
    changed = image.weaken_unique_symbols("9mindspore")
    assert changed == sum("9mindspore" in name for name in before)
    assert image.unique_symbols() == [name for name in before if "9mindspore" not in name] != []


def test_a_redirected_import_calls_the_other_function(libraries: Path) -> None:
    assert ElfImage.map_file(libraries / "libmain.so", writable=True).redirect_import(
        "mindspore_log_init", "sched_yield"
    )
    # In a process of its own: MindSpore, imported later into this one, would take our libmindspore_core.so for its.
    program = (
        "import ctypes, sys\n"
        "loaded = [ctypes.CDLL(path) for path in sys.argv[1:]]\n"
        "print(loaded[-1].lite_value(), ctypes.c_int.in_dll(loaded[1], 'mindspore_log_calls').value)\n"
    )
    names = ("libmindspore_glog.so.0", "libmindspore_core.so", "libmain.so")
    command = [sys.executable, "-c", program, *(str(libraries / name) for name in names)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["116", "0"]


def test_redirecting_needs_the_other_name_in_the_file(libraries: Path) -> None:
    image = ElfImage.map_file(libraries / "libmain.so", writable=True)
    with pytest.raises(ElfError, match="there is no never_mentioned"):
        image.redirect_import("mindspore_log_init", "never_mentioned")
    assert not image.redirect_import("not_imported", "sched_yield")


def test_a_longer_name_is_refused(libraries: Path) -> None:
    image = ElfImage.map_file(libraries / "libmain.so", writable=True)
    with pytest.raises(ElfError, match=r"is longer than libmindspore_core\.so"):
        image.rename_libraries({"libmindspore_core.so": "libmindspore_core_two.so"})


def test_a_name_whose_bytes_a_symbol_uses_is_refused(tmp_path: Path, built_wheel: tuple[Path, Release]) -> None:
    # The linker stores a string that is the end of another only once: the symbol and the library share "core_x".
    path = synthetic_lite.compile_library(tmp_path, "libshare_core_x", 'extern "C" void core_x() {}')
    with pytest.raises(ElfError, match="a symbol shares the bytes"):
        ElfImage.map_file(path, writable=True).rename_libraries({"libshare_core_x": "libother_core_y"})


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"MZ" + bytes(100), b"\x7fELF\x01\x01" + bytes(100)])
def test_a_file_that_is_no_elf64_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.so").write_bytes(content)
    with pytest.raises(ElfError, match=r"odd\.so"):
        ElfImage.map_file(tmp_path / "odd.so")


def test_damaged_files_give_an_elf_error_or_the_same_kind_of_answer(libraries: Path) -> None:
    original = (libraries / "libmindspore_core.so").read_bytes()
    dice = random.Random(5)
    refused = 0
    for attempt in range(400):
        data = bytearray(original)
        if attempt % 2:
            del data[dice.randrange(len(data)) :]
        else:
            # headers and section headers are where offsets and sizes live
            area = range(64) if attempt % 4 else range(len(data) - 64 * 30, len(data))
            for _ in range(3):
                data[dice.choice(area)] = dice.randrange(256)
        try:
            image = ElfImage(data, "damaged.so")
            image.rename_libraries({"libmindspore_core.so": "libskyworkrt_core.so"})
            image.weaken_unique_symbols("9mindspore")
            image.redirect_import("core_value", "glog_value")
            assert isinstance(image.needed, list)
        except ElfError:
            refused += 1
        assert len(data) <= len(original)
    assert refused > 100
