"""The project as others get it: a wheel, installed into a fresh environment in another folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from installation import REPOSITORY, Installed, checked


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `make` has built and installed here; `pip wheel .` of this checkout where there is none."""
    made = sorted((REPOSITORY / "build" / "dist").glob("*.whl"))
    if made:
        return made[-1]
    folder = tmp_path_factory.mktemp("wheel")
    checked([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, REPOSITORY])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own."""
    environment = tmp_path_factory.mktemp("fresh") / "venv"
    checked([sys.executable, "-m", "venv", environment])
    checked([environment / "bin" / "python", "-m", "pip", "install", "-q", "--no-compile", wheel])
    return Installed(environment, tmp_path_factory.mktemp("elsewhere"))
