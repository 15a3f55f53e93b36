"""Gets the wheel of MindSpore Lite from the package registry that the user's pip is set up for."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from skywork_rt.errors import BackendUnavailableError
from skywork_rt.lite.release import Release

__all__ = ["download_wheel"]

_POLL_SECONDS = 0.2
_MESSAGE_CHARACTERS = 2000


def download_wheel(work: Path, release: Release, progress: Callable[[str, int, int], None]) -> Path:
    """Downloads the release's wheel below `work`. Raises BackendUnavailableError that says what pip said."""
    target, scratch, log = work / "wheel", work / "pip", work / "pip.log"
    target.mkdir()
    scratch.mkdir()
    command = [*_pip(), "download", *_wheel_options(release), "--dest", str(target), release.requirement]
    status = _run(command, scratch, log, lambda: progress("downloading", _bytes_below(work), release.wheel_bytes))
    wheels = list(target.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-_MESSAGE_CHARACTERS:]
        raise BackendUnavailableError(
            f"pip could not download {release.requirement} (exit status {status}). {_way_out(release)} "
            f"pip said:\n{said}"
        )
    progress("downloading", release.wheel_bytes, release.wheel_bytes)
    return wheels[0]


def _wheel_options(release: Release) -> list[str]:
    """The wheel is tagged for an old Python; its C++ parts, all that is used, do not care."""
    return [
        "--no-deps",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "--only-binary=:all:",
        f"--python-version={release.python_tag}",
        "--implementation=cp",
        f"--abi={release.abi_tag}",
        f"--platform={release.platform_tag}",
    ]


def _pip() -> list[str]:
    """A pip that answers: this interpreter's, its base's (a virtual environment may have none), or the one on PATH."""
    for command in _pip_candidates():
        try:
            answer = subprocess.run([*command, "--version"], capture_output=True, env=_environment(), check=False)
        except OSError:
            continue
        if answer.returncode == 0:
            return command
    raise BackendUnavailableError(
        f"MindSpore Lite is fetched through pip, but {sys.executable} has no pip and there is none on PATH. "
        "Install it (Debian: python3-pip), or download the wheel of mindspore-lite elsewhere and name it in "
        "SKYWORK_RT_LITE_WHEEL, or set LITE_HOME to an unpacked MindSpore Lite."
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


def _run(command: list[str], scratch: Path, log: Path, poll: Callable[[], None]) -> int:
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


def _way_out(release: Release) -> str:
    return (
        "Check the network and pip's settings, or download the wheel elsewhere "
        f"('pip download {' '.join(_wheel_options(release))} {release.requirement}') and name it in "
        "SKYWORK_RT_LITE_WHEEL, or set LITE_HOME to an unpacked MindSpore Lite."
    )
