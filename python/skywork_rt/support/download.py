"""Gets a wheel from the package registry that the user's pip is set up for. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.errors import SkyworkError

__all__ = ["DownloadError", "Wheel", "download_wheel", "sha256_of"]

_POLL_SECONDS = 0.2
_MESSAGE_CHARACTERS = 2000
_BLOCK = 1 << 20


class DownloadError(SkyworkError):
    """pip is not there, or could not download a package; the message has pip's own words."""


@dataclass(frozen=True)
class Wheel:
    """Which wheel, and how pip is asked for it."""

    requirement: str
    """Name and version, as "mindspore-lite==2.0.0"."""
    size: int
    """Bytes, for the progress bar; 0 when unknown."""
    tags: tuple[str, ...] = ()
    """Options that choose a wheel of another Python or platform than this one's."""

    @property
    def pip_options(self) -> list[str]:
        """For `pip download`, beside --dest and the requirement."""
        return ["--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--only-binary=:all:", *self.tags]


def download_wheel(wheel: Wheel, work: Path, progress: Callable[[str, int, int], None]) -> Path:
    """Downloads the wheel below `work`, an empty folder of the caller's, and returns its path.

    `progress` is called with ("downloading", bytes so far, bytes in all). Ctrl-C leaves no pip behind. Raises
    DownloadError.
    """
    target, scratch, log = work / "wheel", work / "pip", work / "pip.log"
    target.mkdir()
    scratch.mkdir()
    command = [*_pip(), "download", "--progress-bar=off", *wheel.pip_options, "--dest", str(target), wheel.requirement]
    status = _run(command, scratch, log, lambda: progress("downloading", _bytes_below(work), wheel.size))
    wheels = list(target.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-_MESSAGE_CHARACTERS:]
        raise DownloadError(f"pip could not download {wheel.requirement} (exit status {status}). pip said:\n{said}")
    size = wheels[0].stat().st_size
    progress("downloading", size, size)
    return wheels[0]


def sha256_of(path: Path, on_block: Callable[[int], None] = lambda _done: None) -> str:
    """SHA-256 of a file, in hexadecimal. `on_block` is called with the bytes read so far."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            on_block(done)
    return digest.hexdigest()


def _pip() -> list[str]:
    """A pip that answers: this interpreter's, its base's (a virtual environment may have none), or the one on PATH."""
    for command in _pip_candidates():
        try:
            answer = subprocess.run([*command, "--version"], capture_output=True, env=_environment(), check=False)
        except OSError:
            continue
        if answer.returncode == 0:
            return command
    raise DownloadError(
        f"packages are fetched through pip, but {sys.executable} has no pip and there is none on PATH. "
        "Install it (Debian: python3-pip)."
    )


def _pip_candidates() -> Iterator[list[str]]:
    yield [sys.executable, "-m", "pip"]
    base = getattr(sys, "_base_executable", None)
    if isinstance(base, str) and base != sys.executable:
        yield [base, "-m", "pip"]
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found:
            yield [found]


def _environment() -> dict[str, str]:
    """Without the path changes by which an isolated package build hides the interpreter's own pip."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


def _run(command: Sequence[str], scratch: Path, log: Path, poll: Callable[[], None]) -> int:
    environment = {**_environment(), "TMPDIR": str(scratch)}  # a partial download is then ours to measure and remove
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while process.poll() is None:
                poll()
                time.sleep(_POLL_SECONDS)
        except BaseException:  # Ctrl-C included: leave no pip behind
            process.kill()
            process.wait()
            raise
    return process.returncode


def _bytes_below(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):  # pip moved it
                total += (Path(folder) / name).stat().st_size
    return total
