"""Gets wheels and source packages from the registry that the user's pip is set up for. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.errors import SkyworkError

__all__ = ["DownloadError", "SourcePackage", "Wheel", "download_source", "download_wheel", "sha256_of"]

_POLL_SECONDS = 0.2
_MESSAGE_CHARACTERS = 2000
_BLOCK = 1 << 20
_COMMON_OPTIONS = ("--no-deps", "--no-cache-dir", "--disable-pip-version-check")

_STAND_IN = """\
from pathlib import Path


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory, "stand_in.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return folder.name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    raise NotImplementedError("{name} is downloaded, not built")
"""


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
        return [*_COMMON_OPTIONS, "--only-binary=:all:", *self.tags]


@dataclass(frozen=True)
class SourcePackage:
    """Which source package, and what would build it."""

    requirement: str
    """Name and version, as "llama-cpp-python==0.3.36"."""
    size: int
    """Bytes, for the progress bar; 0 when unknown."""
    backend: str
    """The build backend that its pyproject.toml names, as "scikit_build_core.build"."""

    @property
    def pip_options(self) -> list[str]:
        """For `pip download`, beside --dest and the requirement."""
        return [*_COMMON_OPTIONS, "--no-binary=:all:", "--no-build-isolation"]


def download_wheel(wheel: Wheel, work: Path, progress: Callable[[str, int, int], None]) -> Path:
    """Downloads the wheel below `work`, an empty folder of the caller's, and returns its path.

    `progress` is called with ("downloading", bytes so far, bytes in all). Ctrl-C leaves no pip behind. Raises
    DownloadError.
    """
    return _download(wheel, "*.whl", work, progress, _environment())


def download_source(package: SourcePackage, work: Path, progress: Callable[[str, int, int], None]) -> Path:
    """Downloads the .tar.gz of a source package, as `download_wheel` does a wheel.

    pip asks a source package's build backend for its name and version before it keeps the file. A stand-in that knows
    just these answers: nothing of the package is run, and neither a backend nor a compiler need be installed.
    """
    stand_in = work / "backend"
    _write_stand_in(package, stand_in)
    return _download(package, "*.tar.gz", work, progress, {**_environment(), "PYTHONPATH": str(stand_in)})


def _write_stand_in(package: SourcePackage, folder: Path) -> None:
    name, _, version = package.requirement.partition("==")
    module = folder.joinpath(*package.backend.split(".")).with_suffix(".py")
    module.parent.mkdir(parents=True)
    for parent in module.relative_to(folder).parents[:-1]:
        (folder / parent / "__init__.py").touch()
    module.write_text(_STAND_IN.format(name=name, version=version), encoding="utf-8")


def _download(
    package: Wheel | SourcePackage,
    pattern: str,
    work: Path,
    progress: Callable[[str, int, int], None],
    environment: Mapping[str, str],
) -> Path:
    target, scratch, log = work / "package", work / "pip", work / "pip.log"
    target.mkdir()
    scratch.mkdir()
    options = ["--progress-bar=off", *package.pip_options, "--dest", str(target), package.requirement]
    own = {**environment, "TMPDIR": str(scratch)}  # a partial download is then ours to measure and remove
    most = package.size or sys.maxsize  # pip unpacks a source package, which is not to be counted
    status = _run(
        [*_pip(), "download", *options],
        own,
        log,
        lambda: progress("downloading", min(_bytes_below(work), most), package.size),
    )
    files = list(target.glob(pattern))
    if status != 0 or len(files) != 1:
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-_MESSAGE_CHARACTERS:]
        raise DownloadError(f"pip could not download {package.requirement} (exit status {status}). pip said:\n{said}")
    size = files[0].stat().st_size
    progress("downloading", size, size)
    return files[0]


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


def _run(command: Sequence[str], environment: Mapping[str, str], log: Path, poll: Callable[[], None]) -> int:
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
