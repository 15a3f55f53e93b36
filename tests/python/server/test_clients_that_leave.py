"""A client that leaves frees its place and its cache within a step, whatever it was doing."""

from __future__ import annotations

import random
import socket
import time
from typing import Any

import httpx
import pytest
from raw import connect, post_head, read_some, request_bytes
from serving import Serving

pytestmark = pytest.mark.slow

ENDLESS: dict[str, Any] = {"prompt": "abc", "max_tokens": 20000, "temperature": 0, "ignore_eos": True}


def wait_for(server: Serving, name: str, value: float, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while server.gauge(name) != value:
        assert time.monotonic() < deadline, f"{name} is {server.gauge(name)}, not {value}"
        time.sleep(0.01)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [True, False])
def test_its_sequence_is_gone_at_once(endless_server: Serving, path: str, stream: bool) -> None:
    asked = {name: value for name, value in ENDLESS.items() if name != "prompt"}
    said = {
        "/v1/completions": {"prompt": "abc"},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "abc"}]},
        "/v1/responses": {"input": "abc"},
    }
    cancelled = endless_server.gauge("engine_requests_cancelled_total")
    gone = endless_server.gauge("request_disconnects_total")
    with connect(endless_server.url) as connection:
        connection.sendall(request_bytes(path, {**asked, **said[path], "stream": stream}))
        wait_for(endless_server, "num_requests_running", 1)
    left = time.monotonic()
    wait_for(endless_server, "num_requests_running", 0)
    assert time.monotonic() - left < 2  # a step of this model takes a millisecond; asking takes longer
    assert endless_server.gauge("engine_requests_cancelled_total") == cancelled + 1
    wait_for(endless_server, "request_disconnects_total", gone + 1)


def test_one_that_waits_in_the_queue_frees_its_place(endless_server: Serving) -> None:
    running = [connect(endless_server.url) for _ in range(10)]
    try:
        for count, connection in enumerate(running, 1):
            connection.sendall(request_bytes("/v1/completions", {**ENDLESS, "stream": True}))
            wait_for(endless_server, "num_requests_running", min(count, 8))
        wait_for(endless_server, "num_requests_waiting", 2)
        with connect(endless_server.url) as third:
            third.sendall(request_bytes("/v1/completions", {**ENDLESS, "stream": False}))
            wait_for(endless_server, "num_requests_waiting", 3)
        wait_for(endless_server, "num_requests_waiting", 2)
    finally:
        for connection in running:
            connection.close()
    endless_server.wait_until_idle()


def test_one_of_several_prompts_and_samples_frees_all_of_them(endless_server: Serving) -> None:
    with connect(endless_server.url) as connection:
        asked = {**ENDLESS, "prompt": ["abc", "def"], "n": 3, "temperature": 1, "max_tokens": 5000, "stream": True}
        connection.sendall(request_bytes("/v1/completions", asked))
        read_some(connection)
        wait_for(endless_server, "num_requests_running", 6)
    wait_for(endless_server, "num_requests_running", 0)


def leave_midway(server: Serving, count: int, random_: random.Random) -> None:
    """Clients that leave at any point: in the header, the body, while waiting, in the middle of a stream."""
    whole = request_bytes("/v1/completions", {**ENDLESS, "max_tokens": 2000, "stream": True})
    for _ in range(count):
        with connect(server.url) as connection:
            place = random_.random()
            if place < 0.2:
                connection.sendall(whole[: random_.randrange(1, len(whole))])
            else:
                connection.sendall(whole)
                if place < 0.6 and read_some(connection).startswith(b"HTTP/1.1 200") and place < 0.4:
                    read_some(connection)
            if random_.random() < 0.5:  # a reset instead of an orderly end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def check_leaving(server: Serving, count: int) -> None:
    random_ = random.Random(count)
    leave_midway(server, 50, random_)
    server.wait_until_idle()
    before = server.memory()
    leave_midway(server, count, random_)
    server.wait_until_idle()
    assert server.gauge("num_requests_running") == server.gauge("num_requests_waiting") == 0
    assert server.memory() - before < (8 << 20) + 500 * count, "bytes a client that left"
    answer = httpx.post(server.url + "/v1/completions", json={**ENDLESS, "max_tokens": 3}, timeout=30)
    assert answer.status_code == 200


def test_300_that_leave_midway_leave_nothing_behind(endless_server: Serving) -> None:
    check_leaving(endless_server, 300)


@pytest.mark.long
def test_10000_that_leave_midway_leave_nothing_behind(endless_server: Serving) -> None:
    check_leaving(endless_server, 10_000)


def test_what_has_been_asked_of_a_connection_that_stays_half_open_ends_by_its_deadline(endless_server: Serving) -> None:
    """A client whose machine has died says nothing. The body never comes whole."""
    with connect(endless_server.url) as connection:
        connection.sendall(post_head("/v1/completions", 1000) + b"{")
        time.sleep(0.1)
        assert httpx.get(endless_server.url + "/health").status_code == 200
    endless_server.wait_until_idle()
