"""A GGUF model in several files opens by any of them, and by the directory that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from checkpoints import GgufBuilder, small

from skywork_rt.checkpoints.open import open_source
from skywork_rt.errors import CheckpointError


def write_split(directory: Path, count: int = 3, **changes: Any) -> list[Path]:
    """As llama.cpp's gguf-split writes it: the first file has the metadata, all have split.*."""
    directory.mkdir(exist_ok=True)
    builder = GgufBuilder(small())
    names = list(builder.tensors)
    groups = [names[number::count] for number in range(count)]
    paths = [directory / f"model-Q8_0-{number + 1:05}-of-{count:05}.gguf" for number in range(count)]
    for number, (path, group) in enumerate(zip(paths, groups, strict=True)):
        stated = {"split.no": number, "split.count": count, "split.tensors.count": len(names), **changes}
        if number == 0:
            _write_first(builder, path, group, stated)
        else:
            _write(path, ((name, builder.tensors[name]) for name in group), stated)
    return paths


def _write_first(builder: GgufBuilder, path: Path, group: Sequence[str], stated: dict[str, int]) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in builder.metadata.items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"llama.{key}", value)
    _finish(writer, ((name, builder.tensors[name]) for name in group), stated)


def _write(path: Path, tensors: Iterable[tuple[str, Any]], stated: dict[str, int]) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.kv_data = [{}]  # the other files have no general.architecture
    _finish(writer, tensors, stated)


def _finish(writer: gguf.GGUFWriter, tensors: Iterable[tuple[str, Any]], stated: dict[str, int]) -> None:
    for key, value in stated.items():
        (writer.add_int32 if key.endswith("tensors.count") else writer.add_uint16)(key, value)
    for name, values in tensors:
        writer.add_tensor(name, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_any_file_and_the_directory_open_the_whole_model(tmp_path: Path) -> None:
    paths = write_split(tmp_path / "split")
    whole = open_source(GgufBuilder(small()).write(tmp_path / "whole.gguf"))
    for path in (*paths, tmp_path / "split"):
        source = open_source(path)
        assert (source.name, source.config.name) == (paths[0].name, "model")
        assert source.sha256() is None
        for name in whole.tensor_names():
            np.testing.assert_array_equal(source.tensor(name), whole.tensor(name))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    paths[1].unlink()
    with pytest.raises(CheckpointError, match=r"is one of 3 files; missing beside it: model-Q8_0-00002-of-00003\.gguf"):
        open_source(paths[2])


def test_a_renamed_file_says_what_its_name_must_be(tmp_path: Path) -> None:
    path = write_split(tmp_path)[0].rename(tmp_path / "first.gguf")
    with pytest.raises(CheckpointError, match=r"one of 3 files .*, but not named so.*-00001-of-00003\.gguf"):
        open_source(path)


def test_files_in_another_order_are_refused(tmp_path: Path) -> None:
    paths = write_split(tmp_path)
    paths[1].rename(tmp_path / "x")
    paths[2].rename(paths[1])
    (tmp_path / "x").rename(paths[2])
    with pytest.raises(CheckpointError, match="says that it is file 2 of 3, counted from 0, but its name says 1 of 3"):
        open_source(paths[0])


def test_a_number_of_tensors_that_is_not_there_is_refused(tmp_path: Path) -> None:
    paths = write_split(tmp_path, **{"split.tensors.count": 99})
    with pytest.raises(CheckpointError, match="states 99 tensors in all its files"):
        open_source(paths[0])


def test_a_number_of_files_that_cannot_be_is_refused(tmp_path: Path) -> None:
    paths = write_split(tmp_path, **{"split.count": 60000})
    with pytest.raises(CheckpointError, match=r"split\.count 60000"):
        open_source(paths[0])


def test_a_directory_of_several_models_asks_for_one(tmp_path: Path) -> None:
    write_split(tmp_path)
    GgufBuilder(small()).write(tmp_path / "other.gguf")
    with pytest.raises(CheckpointError, match=r"holds 2 GGUF models: .*other\.gguf; give the path of one"):
        open_source(tmp_path)
