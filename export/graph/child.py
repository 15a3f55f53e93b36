"""Running one step of an export in a process of its own, so that its death is an error message here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import skywork_rt
from skywork_rt.errors import BackendError
from skywork_rt.support.stages import Progress

__all__ = ["build_in_mindspore", "package_environment", "run_child"]

_TAIL_LINES = 8
_TAIL_CHARACTERS = 2000


def package_environment() -> dict[str, str]:
    """This process's environment, so that a child finds the same package."""
    root = str(Path(skywork_rt.__path__[0]).parent)
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, inherited] if inherited else [root])}


def build_in_mindspore(
    worker: str, request: Mapping[str, Any], graphs: Collection[str], cwd: Path, progress: Progress
) -> None:
    """Gives `request`, as JSON, to the module `worker` in a process of its own, which builds `graphs` without weights
    and prints each one's name when it is done. Raises as `run_child`."""
    stage = "building graphs"
    done = 0

    def count(line: str) -> None:
        nonlocal done
        if line in graphs:
            done += 1
            progress(stage, done, len(graphs))

    progress(stage, 0, len(graphs))
    run_child(
        [sys.executable, "-m", worker],
        doing="building the graphs in MindSpore",
        env=package_environment(),
        cwd=cwd,
        stdin=json.dumps(request),
        on_line=count,
    )


def run_child(
    command: Sequence[str],
    *,
    doing: str,
    env: Mapping[str, str],
    cwd: Path,
    stdin: str = "",
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Runs `command` to its end, handing each line of its standard output to `on_line`.

    Raises BackendError that says what was being done, how the process ended and its last lines of standard error. When
    `on_line` raises, or the caller is interrupted, the process is killed first.
    """
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+", errors="replace") as errors:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(env),
            cwd=cwd,
            text=True,
            errors="replace",
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if on_line is not None:
                    on_line(line.rstrip("\n"))
            status = process.wait()
        finally:
            process.kill()
            process.wait()
        if status != 0:
            raise BackendError(f"{doing} failed: its process {_ending(status)}.{_tail(errors)}")


def _ending(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    hint = " (often the kernel's answer to too little memory)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def _tail(errors: IO[str]) -> str:
    errors.seek(0)
    lines = [line.rstrip() for line in errors if line.strip()]
    text = "\n".join(lines[-_TAIL_LINES:])[-_TAIL_CHARACTERS:]
    return f" Its last words:\n{text}" if text else ""
