"""An environment that has the wheel of this project, and running things in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class Installed:
    """A virtual environment that has the wheel and what it depends on, and nothing else."""

    environment: Path
    folder: Path
    """Where its programs run: far from the repository."""

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the environment, from another folder, without this process's Python path."""
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        path = f"{self.environment / 'bin'}{os.pathsep}{inherited.get('PATH', '')}"
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env={**inherited, "PATH": path, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )


def checked(arguments: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Runs a command and returns what it printed; a failure shows it."""
    command = [str(argument) for argument in arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def tool(name: str) -> str:
    """A program of the environment that runs the tests, or of the machine."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found is not None, f"{name} is missing: pip install {name}"
    return found
