"""The child process that holds one runtime: `python -m skywork_rt.bench.worker`.

Reads one JSON request a line from stdin and answers with one line on what stdout was when it started:

    {"op": "open", "runtime": …, "bundle": …, "options": {…}}   -> {"load": seconds}
    {"op": "run", "workload": {…}, "seed": …}                   -> a Trace
    {"op": "memory"}                                            -> {"peak_rss": bytes}

A failure is answered with {"error": text, "kind": class name}. Ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from skywork_rt.bench.drivers import Driver, open_driver
from skywork_rt.bench.workloads import Workload

__all__ = ["main", "peak_resident_bytes"]


def peak_resident_bytes() -> int:
    """The most memory that this process ever held, mapped files included.

    From the kernel's high-water mark; getrusage would report the parent's where that was greater at the fork.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


class _Session:
    """Answers requests; owns the runtime."""

    def __init__(self) -> None:
        self._driver: Driver | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "open":
            return self._open(request)
        if request["op"] == "memory":
            return {"peak_rss": peak_resident_bytes()}
        if self._driver is None:
            raise RuntimeError(f"{request['op']!r} came before 'open'")
        return self._driver.run(Workload(**request["workload"]), request["seed"]).to_json()

    def close(self) -> None:
        if self._driver is not None:
            self._driver.close()

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        import skywork_rt  # noqa: F401  # importing Python modules is no part of opening a model

        started = time.perf_counter()
        self._driver = open_driver(request["runtime"], Path(request["bundle"]), request["options"])
        self._driver.first_token()
        return {"load": time.perf_counter() - started}


def main() -> None:
    """Serves requests until stdin ends."""
    replies = _private_stdout()
    session = _Session()
    for line in sys.stdin:
        try:
            answer = session.answer(json.loads(line))
        except Exception as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()
    session.close()


def _private_stdout() -> TextIO:
    """Keeps stdout for the answers and gives stderr to everybody else: MindSpore Lite prints to stdout."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return private


if __name__ == "__main__":
    main()
