"""Why a rank ended, from what it printed."""

from __future__ import annotations

import re
import signal
from pathlib import Path

__all__ = ["describe_exit", "first_failure", "reason_in"]

_TAIL = 64 << 10
_OUR_ERROR = re.compile(r"^error: (.+)$")
_MSRUN = re.compile(r"Worker process (\d+) exit with exception\. Error code: (-?\d+)")
_EXCEPTION = re.compile(r"^(?:\[ERROR\].*?)?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit))\b:?(.*)$")


def reason_in(log: Path) -> str:
    """The last error of ours, else the last exception of a traceback, else the last lines; empty for an empty log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for pattern in (_OUR_ERROR, _EXCEPTION):
        for line in reversed(lines):
            match = pattern.match(line.strip())
            if match:
                return match[0].removeprefix("error: ").strip()
    said = [line.strip() for line in lines if line.strip()]
    return " / ".join(said[-3:])


def first_failure(log: Path) -> tuple[int, int] | None:
    """Process and status of the worker that msrun says has failed; None when its log says nothing of the kind."""
    try:
        match = _MSRUN.search(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return (int(match[1]), int(match[2])) if match else None


def describe_exit(code: int | None) -> str:
    """A status as a sentence's end; a negative one is a signal."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    hint = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"
