"""A process that writes a share of an output; see `workers`. One line of JSON on standard output for each tensor."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from skywork_rt.convert.jobs import job_of
from skywork_rt.convert.writing import write_units
from skywork_rt.errors import SkyworkError
from skywork_rt.support.host import peak_memory


def main() -> int:
    """Reads the task from standard input; what is wrong goes to the parent as a message."""
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    logging.getLogger("skywork_rt").setLevel(logging.ERROR)  # the parent has warned already
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        plan = job_of(task).plan()
        units = [(number, index) for number, index in task["units"]]
        write_units(plan, units, Path(task["root"]), Path(task["journal"]), lambda count: _tell(bytes=count))
    except SkyworkError as error:
        _tell(error=str(error), code=error.code)
        return 1
    _tell(peak=peak_memory())
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _tell(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
