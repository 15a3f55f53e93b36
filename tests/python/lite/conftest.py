"""A miniature MindSpore Lite for the tests of finding and preparing it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import synthetic_lite

import skywork_rt.lite.location as locating
from skywork_rt.lite.release import Release

installing = importlib.import_module("skywork_rt.lite.install")  # the package has a function of this name


@pytest.fixture(scope="session")
def built_wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Release]:
    """The miniature's wheel and release, compiled once."""
    if synthetic_lite.compiler_is_missing():
        pytest.skip("g++ is missing: the libraries that are patched cannot be compiled")
    return synthetic_lite.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def release(built_wheel: tuple[Path, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """The miniature as the release to install, into an empty cache, from its wheel."""
    wheel, described = built_wheel
    for module in (installing, locating):
        monkeypatch.setattr(module, "release_for_this_machine", lambda: described)
    monkeypatch.setenv("SKYWORK_RT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SKYWORK_RT_LITE_WHEEL", str(wheel))
    monkeypatch.delenv("LITE_HOME", raising=False)
    return described
