"""Whatever ends a conversion: under the final name there is nothing or a whole file, and the next run goes on."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_checkpoints import UNTIED, arrays_of, assert_equal, hugging_face, weights_of

from skywork_rt.convert import Parallelism, convert, merge, split
from skywork_rt.errors import BusyError, CapacityError, CheckpointError, InvalidArgumentError, SkyworkError

TENSORS = len(UNTIED.tensor_shapes())

KILLED_AFTER = """
import os, signal, sys
from skywork_rt.convert import Parallelism, convert, split
stage, part = sys.argv[3], float(sys.argv[4])
def progress(name, done, total):
    if name == stage and done >= part * total:
        os.kill(os.getpid(), signal.SIGKILL)
if len(sys.argv) > 5:
    split(sys.argv[1], sys.argv[2], Parallelism(2, 2), workers=int(sys.argv[5]), progress=progress)
else:
    convert(sys.argv[1], sys.argv[2], progress=progress)
"""


def killed(*arguments: object) -> None:
    """A run that is killed when `stage` has done `part` of its work."""
    done = subprocess.run([sys.executable, "-c", KILLED_AFTER, *map(str, arguments)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hugging_face(tmp_path_factory.mktemp("model") / "hf", UNTIED)


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "whole.ckpt"
    convert(model, out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "part", "resumed"),
    [("convert", 0.0, 0), ("convert", 0.4, None), ("convert", 1.0, TENSORS), ("finish", 0.0, TENSORS)],
)
def test_a_killed_conversion_leaves_nothing_and_goes_on(
    tmp_path: Path, model: Path, whole: Path, stage: str, part: float, resumed: int | None
) -> None:
    out = tmp_path / "out.ckpt"
    killed(model, out, stage, part)
    assert not out.exists()
    assert (tmp_path / "out.ckpt.partial").is_dir()
    report = convert(model, out)
    assert report.resumed == resumed if resumed is not None else 0 < report.resumed < TENSORS
    assert report.tensors == TENSORS
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "out.ckpt.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["safetensors", "bin"])
def test_a_directory_goes_on_too(tmp_path: Path, model: Path, whole: Path, file_format: Any) -> None:
    stops = [30_000, 300_000, 400_000]

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "convert" and stops and done >= stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            convert(whole, tmp_path / "out", file_format=file_format, progress=stop)
        assert not (tmp_path / "out").exists()
    assert convert(whole, tmp_path / "out", file_format=file_format, progress=stop).resumed > 10
    assert_equal(weights_of(tmp_path / "out"), weights_of(model))
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


def stopped_at(part: float) -> Any:
    def stop(stage: str, done: int, total: int) -> None:
        if stage in ("convert", "split", "merge") and done >= part * total:
            raise KeyboardInterrupt

    return stop


def interrupted(model: Path, out: Path, part: float = 0.5) -> Path:
    """The partial directory of a conversion that was interrupted."""
    with pytest.raises(KeyboardInterrupt):
        convert(model, out, progress=stopped_at(part))
    return out.with_name(out.name + ".partial")


KILLED_IN_PUBLISHING = """
import os, signal, sys
from skywork_rt.convert import Parallelism, convert, partial, split
name, moment, command = sys.argv[3:6]
kept = getattr(partial, name)
def dying(*arguments, **options):
    if moment == "after":
        kept(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(partial, name, dying)
overwrite = os.path.exists(sys.argv[2])
if command == "split":
    split(sys.argv[1], sys.argv[2], Parallelism(1, 2), workers=1, overwrite=overwrite)
else:
    convert(sys.argv[1], sys.argv[2], overwrite=overwrite)
"""


def killed_in_publishing(*arguments: object) -> None:
    """A run that is killed before or after it calls a function by which an output gets its name."""
    done = subprocess.run([sys.executable, "-c", KILLED_IN_PUBLISHING, *map(str, arguments)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(("function", "moment"), [("_identity", "before"), ("rename_new", "before")])
@pytest.mark.parametrize("command", ["convert", "split"])
def test_a_directory_killed_before_its_name_goes_on(
    tmp_path: Path, whole: Path, command: str, function: str, moment: str
) -> None:
    out = tmp_path / "out"
    killed_in_publishing(whole, out, function, moment, command)
    assert not out.exists()
    report = split(whole, out, Parallelism(1, 2), workers=1) if command == "split" else convert(whole, out)
    assert report.resumed == report.tensors
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in out.rglob(".*")] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out", "out.ckpt"])
def test_what_is_left_of_a_run_killed_after_its_output_has_its_name_is_removed(
    tmp_path: Path, model: Path, whole: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    out, source = tmp_path / name, whole if name == "out" else model
    killed_in_publishing(source, out, "rename_new", "after", "convert")
    assert (tmp_path / f"{name}.partial").is_dir()
    content = arrays_of(out) if out.is_file() else weights_of(out)
    with pytest.raises(InvalidArgumentError, match="is there already"):
        convert(source, out)
    assert "was finished by a run that was interrupted" in caplog.text
    assert not (tmp_path / f"{name}.partial").exists()
    assert_equal(arrays_of(out) if out.is_file() else weights_of(out), content)


@pytest.mark.slow
def test_an_output_that_was_exchanged_before_the_run_was_killed_does_not_come_back(
    tmp_path: Path, model: Path, whole: Path
) -> None:
    out = tmp_path / "out"
    convert(whole, out, dtype="float16")
    (out / "chat_template.jinja").write_text("old")
    code = KILLED_IN_PUBLISHING.replace("import os,", "import skywork_rt.support.publish as p, os,", 1)
    code = code.replace("kept(*arguments, **options)", "p.exchange_directory(*arguments)", 1)
    command = [sys.executable, "-c", code, str(whole), str(out), "replace_directory", "after", "convert"]
    done = subprocess.run(command, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "out.partial" / "out" / "chat_template.jinja").exists()
    shutil.rmtree(out)  # so that the next run cannot know that it was finished
    convert(whole, out)
    assert not (out / "chat_template.jinja").exists()
    assert_equal(weights_of(out), weights_of(model))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_damaged_tensors_of_an_interrupted_run_are_written_again(tmp_path: Path, model: Path, whole: Path) -> None:
    partial = interrupted(model, tmp_path / "out.ckpt")
    first = interrupted(model, tmp_path / "same.ckpt")
    sound = convert(model, tmp_path / "same.ckpt").resumed
    assert not first.exists()
    with (partial / "out.ckpt").open("r+b") as file:
        file.seek(100)
        file.write(b"damaged")
    with (partial / ".progress" / "journal-1.jsonl").open("a") as journal:
        journal.write("[0, 5")  # cut off in the middle
    assert convert(model, tmp_path / "out.ckpt").resumed == sound - 1
    assert (tmp_path / "out.ckpt").read_bytes() == whole.read_bytes()


def test_a_file_that_became_shorter_is_written_again(tmp_path: Path, model: Path, whole: Path) -> None:
    partial = interrupted(model, tmp_path / "out.ckpt")
    os.truncate(partial / "out.ckpt", 10)
    assert convert(model, tmp_path / "out.ckpt").resumed == 0
    assert (tmp_path / "out.ckpt").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", ["options", "source"])
def test_another_source_or_other_options_start_anew_and_say_so(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    source = tmp_path / "hf"
    shutil.copytree(model, source)
    interrupted(source, tmp_path / "out.ckpt")
    if change == "source":
        os.utime(source / "model.safetensors", ns=(1, 1))
    report = convert(source, tmp_path / "out.ckpt", dtype="float32" if change == "options" else None)
    assert report.resumed == 0
    assert "starting anew" in caplog.text


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path, model: Path) -> None:
    partial = interrupted(model, tmp_path / "out.ckpt")
    handle = os.open(partial, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(BusyError, match="another process is writing"):
        convert(model, tmp_path / "out.ckpt")
    os.close(handle)
    convert(model, tmp_path / "out.ckpt")


def test_somebody_elses_directory_is_left_alone(tmp_path: Path, model: Path) -> None:
    (tmp_path / "out.ckpt.partial").mkdir()
    (tmp_path / "out.ckpt.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidArgumentError, match="not of an interrupted run"):
        convert(model, tmp_path / "out.ckpt")
    assert (tmp_path / "out.ckpt.partial" / "thesis.txt").read_text() == "mine"


def test_an_output_that_appears_meanwhile_is_left_alone(tmp_path: Path, model: Path) -> None:
    def appear(stage: str, done: int, total: int) -> None:
        if stage == "finish":
            (tmp_path / "out.ckpt").write_text("theirs")

    with pytest.raises(InvalidArgumentError, match="appeared meanwhile"):
        convert(model, tmp_path / "out.ckpt", progress=appear)
    assert (tmp_path / "out.ckpt").read_text() == "theirs"


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 1 << 20))
    with pytest.raises(CapacityError, match=r"0\.00 GB free"):
        convert(model, tmp_path / "out.ckpt")
    assert not (tmp_path / "out.ckpt").exists()


# Several processes


@pytest.mark.slow
def test_a_killed_split_goes_on_and_its_processes_end(tmp_path: Path, whole: Path) -> None:
    killed(whole, tmp_path / "ranks", "split", 0.3, 2)
    assert not (tmp_path / "ranks").exists()
    for _ in range(100):  # children end with their parent; a lock that they hold tells
        try:
            report = split(whole, tmp_path / "ranks", Parallelism(2, 2), workers=2)
            break
        except BusyError:
            time.sleep(0.1)
    assert report.resumed > 0
    split(whole, tmp_path / "again", Parallelism(2, 2), workers=1)
    for rank in range(4):
        file = f"rank_{rank}/checkpoint_{rank}.ckpt"
        assert (tmp_path / "ranks" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def workers() -> list[psutil.Process]:
    """Our processes that write tensors."""
    return [child for child in psutil.Process().children() if writes_tensors(child)]


def writes_tensors(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "skywork_rt.convert.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # it has just ended
        return False


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_and_the_next_run_goes_on(tmp_path: Path, whole: Path) -> None:
    def kill_children(stage: str, done: int, total: int) -> None:
        if stage == "split" and done:
            for child in workers():
                child.kill()

    with pytest.raises(CapacityError, match="ended by signal 9"):
        split(whole, tmp_path / "ranks", Parallelism(2, 2), workers=2, progress=kill_children)
    assert not (tmp_path / "ranks").exists()
    assert workers() == []
    assert split(whole, tmp_path / "ranks", Parallelism(2, 2), workers=1).resumed > 0


@pytest.mark.slow
def test_what_a_process_finds_wrong_is_the_error_of_the_call(tmp_path: Path, whole: Path) -> None:
    source = tmp_path / "source.ckpt"
    shutil.copy(whole, source)

    def cut(stage: str, done: int, total: int) -> None:
        if stage == "split" and not done:
            os.truncate(source, 100)

    with pytest.raises(CheckpointError, match=r"source\.ckpt"):
        split(source, tmp_path / "ranks", Parallelism(2, 2), workers=2, progress=cut)
    assert not (tmp_path / "ranks").exists()


def test_an_interrupted_merge_goes_on_and_says_so(
    tmp_path: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split(whole, tmp_path / "ranks", Parallelism(2, 2, optimizer_shard=True), workers=1)
    ranks, strategy = tmp_path / "ranks", tmp_path / "ranks" / "strategy"
    with pytest.raises(KeyboardInterrupt):
        merge(ranks, strategy, tmp_path / "back.ckpt", workers=1, progress=stopped_at(0.5))
    assert not (tmp_path / "back.ckpt").exists()
    assert "back.ckpt.partial keeps what is written; the same command goes on" in caplog.text
    assert merge(ranks, strategy, tmp_path / "back.ckpt", workers=1).resumed > 0
    assert_equal(arrays_of(tmp_path / "back.ckpt"), arrays_of(whole))


def test_a_source_that_is_cut_while_it_is_read_is_an_error(tmp_path: Path, model: Path) -> None:
    source = tmp_path / "hf"
    shutil.copytree(model, source)

    def cut(stage: str, done: int, total: int) -> None:
        if stage == "convert" and not done:
            os.truncate(source / "model.safetensors", 5000)

    with pytest.raises(SkyworkError, match="truncated"):
        convert(source, tmp_path / "out.ckpt", progress=cut)
    assert not (tmp_path / "out.ckpt").exists()
    assert json.loads((source / "config.json").read_text())
