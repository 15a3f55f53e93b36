"""The parent's side of a worker process."""

from __future__ import annotations

import contextlib
import json
import selectors
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skywork_rt.bench.drivers import DriverOptions
from skywork_rt.bench.workloads import Trace, Workload
from skywork_rt.errors import SkyworkError

__all__ = ["BenchError", "WorkerProcess"]

_STDERR_TAIL = 2000  # characters of a dead worker's last words that go into the message


class BenchError(SkyworkError):
    """A runtime failed while it was measured."""


class WorkerProcess:
    """One runtime in a process of its own. Every method raises BenchError when it fails, dies or takes too long."""

    def __init__(self, label: str, timeout: float = 1800.0) -> None:
        """`timeout` is in seconds, for each answer."""
        self._label = label
        self._timeout = timeout
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "skywork_rt.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C is for the parent, which ends its workers in order
        )

    def open(self, runtime: str, bundle: Path, options: DriverOptions) -> float:
        """Opens the bundle and computes one token. Returns the seconds that took."""
        request = {"op": "open", "runtime": runtime, "bundle": str(bundle), "options": dict(options)}
        return float(self._ask(request)["load"])

    def run(self, workload: Workload, seed: int) -> Trace:
        return Trace.from_json(self._ask({"op": "run", "workload": vars(workload), "seed": seed}))

    def peak_rss(self) -> int:
        """Bytes."""
        return int(self._ask({"op": "memory"})["peak_rss"])

    def close(self) -> None:
        """Ends the process; kills it if it does not end by itself."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it is gone already
                self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None, "both are pipes"
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._death(request["op"]) from None
        self._wait_readable(request["op"])
        line = stdout.readline()
        if not line:
            raise self._death(request["op"])
        answer = json.loads(line)
        assert isinstance(answer, dict), "the worker answers with objects"
        if "error" in answer:
            raise BenchError(f"{self._label}: {answer['kind']}: {answer['error']}")
        return answer

    def _wait_readable(self, operation: str) -> None:
        with selectors.DefaultSelector() as selector:
            assert self._process.stdout is not None
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(self._timeout):
                self._process.kill()
                raise BenchError(f"{self._label}: no answer to {operation!r} within {self._timeout:g} s")

    def _death(self, operation: str) -> BenchError:
        status = self._process.wait()
        self._stderr.seek(0)
        words = self._stderr.read().decode("utf-8", "replace")[-_STDERR_TAIL:].strip()
        return BenchError(f"{self._label}: its process ended with status {status} during {operation!r}. {words}")
