"""`skywork-rt serve --ray`, as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

pytest.importorskip("ray")

from ray_apps import free_port

pytestmark = pytest.mark.long  # a Ray of its own


def test_a_second_signal_ends_what_the_first_one_waits_for(endless_bundle: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "skywork_rt", "serve", "--ray", f"m={endless_bundle}", "--port", str(port)]
    command += ["--backend", "native", "--replica-cpus", "0.5", "--drain-seconds", "60"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    log = tmp_path / "log"
    with log.open("wb") as stream, subprocess.Popen(command, stderr=stream, env=environment) as process:
        try:
            deadline = time.monotonic() + 120
            while b"serving on" not in log.read_bytes():
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            url = f"http://127.0.0.1:{port}/v1/completions"
            asked = {"prompt": "abc", "max_tokens": 60_000, "ignore_eos": True, "stream": True}
            with httpx.stream("POST", url, json=asked, timeout=60) as answer:
                next(answer.iter_raw())
                process.send_signal(signal.SIGTERM)
                time.sleep(2)
                assert process.poll() is None, "what runs may end first"
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
        finally:
            process.kill()
