"""The extras of the package go together: one call of pip takes them all."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_all_extras_resolve_in_one_call(tmp_path: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"export", "recipe", "eval", "bench"} <= extras.keys()
    command = [sys.executable, str(ROOT / "cmake" / "scripts" / "requirements.py"), *extras]
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", str(tmp_path / "report.json")]
    done = subprocess.run([*pip, "-r", str(requirements)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left = [entry["metadata"]["name"] for entry in json.loads((tmp_path / "report.json").read_text())["install"]]
    assert "mindformers" not in left  # the environment that the tests run in has them all
