"""Builds and installs this project with pip, with a progress bar, which pip itself does not have for a build.

Arguments are settings of the build, such as ``cmake.define.SKYWORK_RT_WERROR=ON``.

pip's and the compiler's words go to build/install.log; its end is shown when something fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).parents[2]
LOG = ROOT / "build" / "install.log"
NINJA_STEP = re.compile(r"\[(\d+)/(\d+)\]")
SHOWN_LINES = 60


def main() -> int:
    LOG.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--verbose", "--no-deps", "--force-reinstall"]
    # The environment has what a build needs (requirements.py). Without an isolated one the compiler's command lines are
    # the same every time, so that ccache knows them.
    command += ["--no-build-isolation", *(f"--config-settings={setting}" for setting in sys.argv[1:]), str(ROOT)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with LOG.open("w", encoding="utf-8") as log, Progress(*columns) as progress:
        task = progress.add_task("Building skywork_rt", total=None)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                if step := NINJA_STEP.search(line):
                    progress.update(task, completed=int(step[1]), total=int(step[2]))
    if process.returncode != 0:
        print("\n".join(LOG.read_text(encoding="utf-8").splitlines()[-SHOWN_LINES:]), file=sys.stderr)
        print(f"The build failed; the whole log is {LOG}", file=sys.stderr)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
