"""What --overwrite never does: remove an input, or what an earlier run has not written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_checkpoints import arrays_of, hugging_face, mindspore_arrays, small, write_file

from skywork_rt.convert import Parallelism, convert, merge, split
from skywork_rt.errors import InvalidArgumentError

TWO = Parallelism(1, 2)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """hf, a Hugging Face directory; ms/m.ckpt with its configuration; ranks, that divided."""
    hugging_face(tmp_path / "hf", small(), "float32", tokenizer="sentencepiece")
    convert(tmp_path / "hf", tmp_path / "ms" / "m.ckpt")
    split(tmp_path / "ms" / "m.ckpt", tmp_path / "ranks", TWO, workers=1)
    return tmp_path


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


CALLS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "convert onto its source": (lambda p: convert(p / "ms/m.ckpt", p / "ms/m.ckpt", overwrite=True), "is an input"),
    "a directory onto itself": (lambda p: convert(p / "hf", p / "hf", overwrite=True), "is an input"),
    "onto a shard": (lambda p: convert(p / "hf", p / "hf/model.safetensors", overwrite=True), "lies in .*hf, an input"),
    "onto the source's folder": (lambda p: convert(p / "ms/m.ckpt", p / "ms", overwrite=True), "holds .*m.ckpt"),
    "onto the folder of the only ckpt": (lambda p: convert(p / "ms", p / "ms", overwrite=True), "holds .*m.ckpt"),
    "into the source": (lambda p: convert(p / "hf", p / "hf/out"), "lies in .*hf, an input"),
    "onto the updates": (
        lambda p: convert(p / "hf", p / "ms/m.ckpt", merge_lora=p / "ms/m.ckpt", lora_alpha=1, overwrite=True),
        "is an input",
    ),
    "onto the tokenizer's folder": (
        lambda p: convert(p / "ms/m.ckpt", p / "hf", tokenizer=p / "hf/tokenizer.model", overwrite=True),
        "holds .*tokenizer.model",
    ),
    "split onto its source": (lambda p: split(p / "ms/m.ckpt", p / "ms", TWO, overwrite=True), "holds .*m.ckpt"),
    "split onto its strategy": (
        lambda p: split(p / "ms/m.ckpt", p / "ranks", p / "ranks/strategy", overwrite=True),
        "holds .*strategy",
    ),
    "split into the ranks": (
        lambda p: split(p / "ranks", p / "ranks/rank_0", TWO, source_strategy=p / "ranks/strategy", overwrite=True),
        "lies in .*ranks",
    ),
    "merge onto a part": (
        lambda p: merge(p / "ranks", p / "ranks/strategy", p / "ranks/rank_0/checkpoint_0.ckpt", overwrite=True),
        "lies in .*ranks",
    ),
    "merge onto its strategy": (
        lambda p: merge(p / "ranks", p / "s.ckpt", p / "s.ckpt", overwrite=True),
        "is an input",
    ),
    "a hard link": (lambda p: convert(p / "ms/m.ckpt", p / "hard.ckpt", overwrite=True), "is an input"),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_input_is_never_replaced(place: Path, call: str) -> None:
    shutil.copy(place / "ranks/strategy/ckpt_strategy_rank_0.ckpt", place / "s.ckpt")
    os.link(place / "ms/m.ckpt", place / "hard.ckpt")
    run, cause = CALLS[call]
    before = everything(place)
    with pytest.raises(InvalidArgumentError, match=cause):
        run(place)
    assert everything(place) == before
    assert list(place.rglob("*.partial")) == []


def foreign(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    return path


@pytest.mark.parametrize("entry", ["thesis.txt", "rank_0/thesis.txt", "rank_1/x-1_20.ckpt", "strategy/notes", "rank_x"])
def test_ranks_with_something_else_are_not_replaced(place: Path, entry: str) -> None:
    split(place / "ms/m.ckpt", place / "ranks", TWO, workers=1, overwrite=True)
    foreign(place / "ranks" / entry)
    with pytest.raises(InvalidArgumentError, match=rf"is not what this command writes: it has {entry};"):
        split(place / "ms/m.ckpt", place / "ranks", TWO, workers=1, overwrite=True)
    assert (place / "ranks" / entry).read_text() == "mine"


def test_the_checkpoints_of_a_training_are_not_taken_for_an_output_of_split(place: Path) -> None:
    foreign(place / "checkpoint/rank_0/tiny_rank_0-1_20.ckpt")
    with pytest.raises(InvalidArgumentError, match=r"it has rank_0/tiny_rank_0-1_20\.ckpt"):
        split(place / "ms/m.ckpt", place / "checkpoint", TWO, overwrite=True)


@pytest.mark.parametrize("entry", ["thesis.txt", "notes.safetensors", "weights/x.bin", "modeling_mine.py"])
def test_a_directory_with_something_else_is_not_replaced(place: Path, entry: str) -> None:
    out = place / "out"
    convert(place / "ms/m.ckpt", out)
    convert(place / "ms/m.ckpt", out, overwrite=True)
    foreign(out / entry)
    with pytest.raises(InvalidArgumentError, match=rf"is not what this command writes: it has {entry.split('/')[0]};"):
        convert(place / "ms/m.ckpt", out, overwrite=True)
    assert (out / entry).read_text() == "mine"


def test_a_directory_without_a_model_is_replaced_only_when_it_is_empty(place: Path) -> None:
    foreign(place / "home/config.json")
    with pytest.raises(InvalidArgumentError, match=r"it has config\.json"):
        convert(place / "ms/m.ckpt", place / "home", overwrite=True)
    (place / "empty").mkdir()
    convert(place / "ms/m.ckpt", place / "empty", overwrite=True)
    (place / "file").write_text("mine")
    with pytest.raises(InvalidArgumentError, match="is a file, and --overwrite replaces a directory by a directory"):
        convert(place / "ms/m.ckpt", place / "file", overwrite=True)
    (place / "folder.ckpt").mkdir()
    with pytest.raises(InvalidArgumentError, match="is no file"):
        convert(place / "hf", place / "folder.ckpt", overwrite=True)


@pytest.mark.parametrize("points_to", ["hf", "nothing", "ms/m.ckpt"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["link", "link.ckpt"])
def test_a_symbolic_link_is_refused_at_once(place: Path, name: str, points_to: str, overwrite: bool) -> None:
    source = write_file(place / "other.ckpt", mindspore_arrays(small()))
    (place / name).symlink_to(place / points_to)
    with pytest.raises(InvalidArgumentError, match=f"{name} is a symbolic link to .*{points_to}"):
        convert(source, place / name, overwrite=overwrite, config=place / "hf")
    with pytest.raises(InvalidArgumentError, match="is a symbolic link"):
        split(source, place / name, TWO, overwrite=overwrite)
    assert (place / name).is_symlink()
    assert list(place.rglob("*.partial")) == []


def test_a_link_in_the_place_of_what_is_being_made_is_refused(place: Path) -> None:
    (place / "elsewhere").mkdir()
    (place / "out.ckpt.partial").symlink_to(place / "elsewhere")
    with pytest.raises(InvalidArgumentError, match=r"out\.ckpt\.partial is a symbolic link"):
        convert(place / "ms/m.ckpt", place / "out.ckpt")


def test_a_file_is_replaced_by_a_file(place: Path) -> None:
    merge(place / "ranks", place / "ranks/strategy", place / "back.ckpt", workers=1)
    write_file(place / "back.ckpt", {"lm_head.weight": arrays_of(place / "back.ckpt")["lm_head.weight"]})
    merge(place / "ranks", place / "ranks/strategy", place / "back.ckpt", workers=1, overwrite=True)
    assert (place / "back.ckpt").read_bytes() == (place / "ms/m.ckpt").read_bytes()
