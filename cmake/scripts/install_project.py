"""Builds the wheel into build/dist and installs it, with a progress bar, which pip does not have for a build.

Arguments are settings of the build, such as ``cmake.define.SKYWORK_RT_WERROR=ON``. pip's and the compiler's words go to
build/install.log; its end is shown when something fails.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).parents[2]
LOG = ROOT / "build" / "install.log"
DIST = ROOT / "build" / "dist"
NINJA_STEP = re.compile(r"\[(\d+)/(\d+)\]")
SHOWN_LINES = 60


def main() -> int:
    LOG.parent.mkdir(exist_ok=True)
    shutil.rmtree(DIST, ignore_errors=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with LOG.open("w", encoding="utf-8") as log, Progress(*columns) as progress:
        task = progress.add_task("Building skywork_rt", total=None)
        status = build(log, progress, task) or install(log)
    if status != 0:
        print("\n".join(LOG.read_text(encoding="utf-8").splitlines()[-SHOWN_LINES:]), file=sys.stderr)
        print(f"The build failed; the whole log is {LOG}", file=sys.stderr)
    return status


def build(log: IO[str], progress: Progress, task: TaskID) -> int:
    """Makes the wheel with what this environment has (requirements.py).

    Without an isolated one the compiler's command lines are the same every time, so that ccache knows them.
    """
    settings = [f"--config-settings={setting}" for setting in sys.argv[1:]]
    command = [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-deps", "--no-build-isolation", *settings]
    with subprocess.Popen(
        [*command, "--wheel-dir", str(DIST), str(ROOT)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if step := NINJA_STEP.search(line):
                progress.update(task, completed=int(step[1]), total=int(step[2]))
    return process.returncode


def install(log: IO[str]) -> int:
    log.flush()
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--force-reinstall", *map(str, DIST.glob("*.whl"))]
    return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
