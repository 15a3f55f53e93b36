"""Runs command lines of skywork-rt, several in one process: importing MindSpore takes longer than these trainings.

``python trainings.py OUT.json`` reads command lines by name from standard input, JSON, and writes the status and the
output of each. One whose name begins with "interrupted" gets Ctrl-C as soon as its first step is seen.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """How one command ended: its status, and what it printed to either stream."""

    status: int
    out: str
    err: str


def run_all(commands: Mapping[str, Sequence[str]], folder: Path) -> dict[str, Done]:
    """Every command by its name, one after the other in one new process that works in `folder`."""
    result = folder / "done.json"
    command = [sys.executable, __file__, str(result)]
    given = json.dumps({name: list(words) for name, words in commands.items()})
    ran = subprocess.run(command, input=given, text=True, capture_output=True, cwd=folder, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(result.read_text(encoding="utf-8"))
    result.unlink()
    return {name: Done(**values) for name, values in found.items()}


def _interrupt_at_the_first_step(out: io.StringIO) -> None:
    while "step 1/" not in out.getvalue():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    from skywork_rt.cli.app import run

    results = {}
    for name, words in json.load(sys.stdin).items():
        out, err = io.StringIO(), io.StringIO()
        if name.startswith("interrupted"):
            threading.Thread(target=_interrupt_at_the_first_step, args=(out,), daemon=True).start()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run(words)
        results[name] = {"status": status, "out": out.getvalue(), "err": err.getvalue()}
    Path(sys.argv[1]).write_text(json.dumps(results), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
