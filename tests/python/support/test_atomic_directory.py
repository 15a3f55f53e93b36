"""A directory appears whole under its name, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkpoints import names_in

import skywork_rt.errors
from skywork_rt.errors import CapacityError, InvalidArgumentError
from skywork_rt.support.atomic_directory import AtomicDirectory


def _publish(final: Path, content: str, *, overwrite: bool = False) -> None:
    with AtomicDirectory(final, overwrite=overwrite) as directory:
        (directory.path / "file").write_text(content)
        directory.publish()


def test_nothing_has_the_name_before_publish_and_all_after(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "out"
    with AtomicDirectory(final) as directory:
        (directory.path / "file").write_text("x")
        assert not final.exists()
        directory.publish()
    assert (final / "file").read_text() == "x"
    assert names_in(final.parent) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_no_failure_leaves_remains(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), AtomicDirectory(tmp_path / "out") as directory:
        (directory.path / "work").mkdir()
        (directory.path / "work" / "file").write_text("x")
        raise error
    assert names_in(tmp_path) == []


def test_overwriting_keeps_the_old_one_until_the_new_one_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "out"
    _publish(final, "old")
    with pytest.raises(ValueError, match="broken"), AtomicDirectory(final, overwrite=True) as directory:
        (directory.path / "file").write_text("half")
        raise ValueError("broken")
    assert (final / "file").read_text() == "old"
    _publish(final, "new", overwrite=True)
    assert (final / "file").read_text() == "new"
    assert names_in(tmp_path) == ["out"]


def test_a_name_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    final = tmp_path / "out"
    with (
        pytest.raises(InvalidArgumentError, match="appeared while it was being written"),
        AtomicDirectory(final) as directory,
    ):
        final.mkdir()
        directory.publish()
    assert names_in(tmp_path) == ["out"]
    assert names_in(final) == []


def test_the_published_directory_obeys_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        _publish(tmp_path / "out", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


def test_a_full_disk_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with AtomicDirectory(tmp_path / "out") as directory:
        directory.require_space(1)
        with pytest.raises(CapacityError, match=r"needs about 1000000000\.00 GB beside it, \d+\.\d+ GB are free"):
            directory.require_space(10**18)


def test_a_place_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="cannot write into"), AtomicDirectory(tmp_path / "file" / "out"):
        pass


def test_remains_of_a_killed_process_go_with_the_next_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from skywork_rt.support.atomic_directory import AtomicDirectory\n"
        "with AtomicDirectory(Path(sys.argv[1])) as d: print('ready', flush=True); time.sleep(60)\n"
    )
    package = Path(skywork_rt.errors.__file__).parents[1]
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(package)},
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        with AtomicDirectory(tmp_path / "out"):
            assert len(names_in(tmp_path)) == 2
        assert len(names_in(tmp_path)) == 1
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(names_in(tmp_path)) == 1
    deadline = time.monotonic() + 5
    while names_in(tmp_path) != ["out"] and time.monotonic() < deadline:
        _publish(tmp_path / "out", "x", overwrite=True)
    assert names_in(tmp_path) == ["out"]
