"""A real server in a process of its own, and what tests look at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

PREFIX = "skywork_rt_"


class Serving:
    """`skywork-rt serve` on a free port."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.url = ""

    @property
    def base(self) -> str:
        return self.url + "/v1"

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def wait_for_line(self, event: str, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = self.log.read_text(encoding="utf-8")
            for line in text.splitlines(keepends=True):
                if line.endswith("\n") and json.loads(line)["event"] == event:
                    found: dict[str, Any] = json.loads(line)
                    return found
            assert self.process.poll() is None, text
            time.sleep(0.02)
        raise AssertionError(f"no line {event!r} in {self.log.read_text()}")

    def metrics(self, client: httpx.Client | None = None) -> dict[str, float]:
        """Samples by name and labels, such as `num_requests_running{model_name=tiny}`."""
        page = (client or httpx).get(self.url + "/metrics").text
        found = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                found[f"{sample.name.removeprefix(PREFIX)}{{{labels}}}"] = sample.value
        return found

    def gauge(self, name: str) -> float:
        """One metric, added up over its labels."""
        return sum(value for key, value in self.metrics().items() if key.split("{")[0] == name)

    def wait_until_idle(self, seconds: float = 30) -> None:
        """Until no request runs or waits."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.gauge("num_requests_running") == self.gauge("num_requests_waiting") == 0:
                return
            time.sleep(0.02)
        raise AssertionError(f"requests are left: {self.metrics()}")

    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        self.process.send_signal(number)
        return self.process.wait(seconds)


@contextmanager
def serving(folder: Path, *arguments: str, ready: bool = True, env: dict[str, str] | None = None) -> Iterator[Serving]:
    """A server of these arguments, stopped at the end."""
    log = folder / f"log-{time.monotonic_ns()}.jsonl"
    threads = ("--threads", "1") if "PYTEST_XDIST_WORKER" in os.environ else ()
    standard = ("--port", "0", "--backend", "native", "--drain-seconds", "2", *threads)
    command = [sys.executable, "-m", "skywork_rt", "serve", *standard, *arguments]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream, env={**os.environ, **(env or {})})
    server = Serving(process, log)
    try:
        server.url = str(server.wait_for_line("listening")["url"])
        if ready:
            server.wait_for_line("ready")
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
