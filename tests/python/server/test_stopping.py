"""From the start to the end: loading, ready, draining, stopped."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Serving, serving

pytestmark = pytest.mark.slow

ENDLESS: dict[str, Any] = {"prompt": "abc", "temperature": 0, "ignore_eos": True}


class Asking:
    """A request in a thread of its own."""

    def __init__(self, server: Serving, tokens: int, *, stream: bool = False) -> None:
        self.status = 0
        self.text = ""
        self._asked = {**ENDLESS, "max_tokens": tokens, "stream": stream}
        self._url = server.url + "/v1/completions"
        self._thread = threading.Thread(target=self._run)
        running = server.gauge("num_requests_running")
        self._thread.start()
        while server.gauge("num_requests_running") <= running and self._thread.is_alive():
            time.sleep(0.01)

    def _run(self) -> None:
        with httpx.stream("POST", self._url, json=self._asked, timeout=60) as answer:
            self.status = answer.status_code
            self.text = answer.read().decode()

    def wait(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_a_drain_lets_what_runs_end_and_takes_nothing_new(endless_bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, f"m={endless_bundle}", "--drain-seconds", "30") as server:
        whole, streamed = Asking(server, 12_000), Asking(server, 12_000, stream=True)
        with httpx.Client(base_url=server.url) as kept:  # a connection from before
            assert kept.get("/health").json() == {"status": "ok"}
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_line("stopping")
            answer = kept.get("/health")
            assert (answer.status_code, answer.json()) == (503, {"status": "stopping"})
            refused = httpx.post(server.url + "/v1/completions", json={**ENDLESS, "max_tokens": 1})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "stopping"
            assert refused.headers["retry-after"]
        whole.wait()
        streamed.wait()
        assert server.process.wait(20) == 0
        assert whole.status == streamed.status == 200
        assert json.loads(whole.text)["usage"]["completion_tokens"] == 12_000
        assert streamed.text.endswith("data: [DONE]\n\n")
        assert server.lines()[-1]["event"] == "stopped"


def test_what_outlasts_the_drain_is_told_so(endless_bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, f"m={endless_bundle}", "--drain-seconds", "0.5") as server:
        whole, streamed = Asking(server, 60_000), Asking(server, 60_000, stream=True)
        begun = time.monotonic()
        assert server.stop(signal.SIGINT) == 0
        assert time.monotonic() - begun < 8
        whole.wait()
        streamed.wait()
        assert whole.status == 503
        assert json.loads(whole.text)["error"]["code"] == "stopping"
        last = streamed.text.strip().splitlines()[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "stopping"


def test_a_second_signal_stops_at_once(endless_bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, f"m={endless_bundle}", "--drain-seconds", "60") as server:
        whole = Asking(server, 60_000)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line("stopping")
        begun = time.monotonic()
        server.stop(signal.SIGTERM)
        assert time.monotonic() - begun < 8
        whole.wait()
        assert whole.status == 503


def test_it_is_not_healthy_before_it_is_warm(smollm2_bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, f"m={smollm2_bundle}", ready=False) as server:
        answers = []
        while not answers or answers[-1].status_code != 200:
            answers.append(httpx.get(server.url + "/health"))
            if answers[-1].status_code == 503:
                early = httpx.post(server.url + "/v1/completions", json={"prompt": "x", "max_tokens": 1})
                assert early.status_code in (503, 200)
                assert early.status_code == 200 or early.json()["error"]["code"] == "loading"
        assert answers[0].json() == {"status": "loading"}
        assert httpx.post(server.url + "/v1/completions", json={"prompt": "x", "max_tokens": 1}).status_code == 200


def test_a_stop_while_it_loads_is_obeyed(smollm2_bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, f"m={smollm2_bundle}", ready=False) as server:
        assert server.stop() == 0
