"""What clients may take: bytes, tokens, places and time. Nobody waits in vain, and nobody is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from raw import answer_of, connect, post_head, request_bytes
from serving import Serving, serving

pytestmark = pytest.mark.slow

ENDLESS: dict[str, Any] = {"prompt": "abc", "max_tokens": 400, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def tight(endless_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with small bounds everywhere."""
    options = {
        "max-body-bytes": 2000, "max-prompt-tokens": 100, "max-output-tokens": 50_000, "max-samples": 2,
        "max-requests": 4, "request-seconds": 1, "header-seconds": 0.5, "body-seconds": 0.5, "api-key": "secret",
        "cors-origin": "https://app.example",
    }  # fmt: skip
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    folder = tmp_path_factory.mktemp("tight")
    (folder / "keys").write_text("# comment\nfrom-file\n")
    arguments += ["--api-key", "second", "--api-key-file", str(folder / "keys")]
    environment = {"SKYWORK_RT_API_KEYS": "from-environment"}
    with serving(folder, f"m={endless_bundle}", *arguments, env=environment) as server:
        yield server


@pytest.fixture
def keyed(tight: Serving) -> Any:
    with httpx.Client(base_url=tight.url, headers={"authorization": "Bearer secret"}, timeout=30) as opened:
        yield opened


def refusal(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("key", ["secret", "second", "from-file", "from-environment"])
def test_each_key_opens(tight: Serving, key: str) -> None:
    with openai.OpenAI(base_url=tight.base, api_key=key) as client:
        assert client.models.list().data[0].id == "m"


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic secret", "Bearer", "secret", "Bearer secret2"])
def test_nothing_but_health_opens_without_a_key(tight: Serving, header: str | None) -> None:
    headers = {"authorization": header} if header else {}
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nothing"):
        answer = httpx.get(tight.url + path, headers=headers)
        assert answer.status_code == 401
        assert refusal(answer)["code"] == "invalid_api_key"
    assert httpx.get(tight.url + "/health", headers=headers).status_code == 200
    with pytest.raises(openai.AuthenticationError), openai.OpenAI(base_url=tight.base, api_key="no") as client:
        client.models.list()


def test_a_body_that_is_too_long_is_refused_by_its_header_and_by_its_bytes(tight: Serving, keyed: httpx.Client) -> None:
    answer = keyed.post("/v1/completions", json={"prompt": "x" * 3000})
    assert answer.status_code == 413
    assert refusal(answer)["code"] == "body_too_long"

    def chunks() -> Any:
        for _ in range(30):
            yield b" " * 100

    assert keyed.post("/v1/completions", content=chunks()).status_code == 413
    assert keyed.post("/v1/completions", content=iter([b'{"prompt": "x", ', b'"max_tokens": 1}'])).status_code == 200


def test_prompts_tokens_and_answers_are_bounded(keyed: httpx.Client) -> None:
    for change, param in (
        ({"prompt": "x" * 200}, "prompt"),
        ({"max_tokens": 50_001}, "max_tokens"),
        ({"n": 3}, "n"),
        ({"best_of": 3}, "best_of"),
    ):
        answer = keyed.post("/v1/completions", json={**ENDLESS, **change})
        assert answer.status_code == 400
        assert refusal(answer)["param"] == param


def test_a_request_that_takes_too_long_is_told_so(tight: Serving, keyed: httpx.Client) -> None:
    begun = time.monotonic()
    answer = keyed.post("/v1/completions", json={**ENDLESS, "max_tokens": 50_000})
    assert answer.status_code == 504
    assert refusal(answer)["code"] == "deadline_exceeded"
    assert 0.9 < time.monotonic() - begun < 10
    with keyed.stream("POST", "/v1/completions", json={**ENDLESS, "max_tokens": 50_000, "stream": True}) as stream:
        assert stream.status_code == 200
        events = [line.removeprefix("data: ") for line in stream.iter_lines() if line]
    assert json.loads(events[-1])["error"]["code"] == "deadline_exceeded"
    assert "[DONE]" not in events
    with (
        openai.OpenAI(base_url=tight.base, api_key="secret", max_retries=0) as client,
        pytest.raises(openai.APIError, match="deadline"),
    ):
        endless = {"ignore_eos": True}
        for _ in client.completions.create(model="m", prompt="x", max_tokens=50_000, stream=True, extra_body=endless):
            pass


def test_a_stream_of_a_response_that_takes_too_long_ends_with_an_event_of_its_number(tight: Serving) -> None:
    with openai.OpenAI(base_url=tight.base, api_key="secret", max_retries=0) as client:
        endless = {"ignore_eos": True}
        stream = client.responses.create(
            model="m", input="x", max_output_tokens=50_000, stream=True, extra_body=endless
        )
        events = list(stream)
    last = events[-1]
    assert last.type == "error"
    assert last.code == "deadline_exceeded"
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_headers_and_bodies_that_do_not_come_are_given_up(tight: Serving) -> None:
    for begin in (b"", b"GET /health HTTP/1.1\r\nHost: x\r\n"):
        with connect(tight.url) as connection:
            connection.sendall(begin)
            begun = time.monotonic()
            answer_of(connection)
            assert time.monotonic() - begun < 5
    with connect(tight.url) as connection:
        head = post_head("/v1/completions", 100).replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer secret\r\n\r\n")
        connection.sendall(head + b'{"prompt"')
        begun = time.monotonic()
        assert answer_of(connection).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - begun < 5


def test_a_hundred_connections_that_say_nothing_keep_nobody_out(tight: Serving) -> None:
    silent = [connect(tight.url) for _ in range(100)]
    try:
        assert httpx.get(tight.url + "/health", timeout=5).status_code == 200
    finally:
        for connection in silent:
            connection.close()


def test_browsers_of_the_named_origin_alone_are_let_in(tight: Serving) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    answer = httpx.options(tight.url + "/v1/completions", headers={"origin": "https://app.example", **asks})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    other = httpx.options(tight.url + "/v1/completions", headers={"origin": "https://evil.example", **asks})
    assert "access-control-allow-origin" not in other.headers
    asked = {**ENDLESS, "max_tokens": 1}
    headers = {"origin": "https://app.example", "authorization": "Bearer secret"}
    allowed = httpx.post(tight.url + "/v1/completions", json=asked, headers=headers)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"


def test_no_browser_is_let_in_unless_told(tiny_server: Serving) -> None:
    """What a page sends without asking first is not run either."""
    headers = {"origin": "https://app.example", "content-type": "text/plain"}
    asked = {"prompt": "x", "max_tokens": 1}
    before = tiny_server.gauge("prompt_tokens_total")
    answer = httpx.post(tiny_server.url + "/v1/completions", content=json.dumps(asked), headers=headers)
    assert answer.status_code == 403
    assert refusal(answer)["code"] == "origin_not_allowed"
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert httpx.get(tiny_server.url + "/v1/models", headers={"origin": "null"}).status_code == 403
    assert tiny_server.gauge("prompt_tokens_total") == before
    own = {"origin": tiny_server.url}  # a page of this server itself
    assert httpx.post(tiny_server.url + "/v1/completions", json=asked, headers=own).status_code == 200


def test_requests_beyond_the_places_are_told_to_come_again(tight: Serving) -> None:
    counts = asyncio.run(flood(tight, 40, {**ENDLESS, "max_tokens": 300}))
    assert set(counts) == {200, 429}
    assert sum(counts.values()) == 40


def test_a_flood_beyond_the_queue_loses_nobody(endless_server: Serving) -> None:
    """8 run, 4 wait, and the rest is told to come again; who does so is served."""
    refused = endless_server.gauge("engine_requests_refused_total")
    counts = asyncio.run(flood(endless_server, 60, {**ENDLESS, "max_tokens": 150}))
    assert set(counts) == {200, 429}
    assert sum(counts.values()) == 60
    assert counts[200] >= 12
    assert endless_server.gauge("engine_requests_refused_total") == refused + counts[429]
    endless_server.wait_until_idle()
    patient = asyncio.run(patient_flood(endless_server, 24))
    assert patient == 24


async def flood(server: Serving, count: int, asked: dict[str, Any]) -> Counter[int]:
    limits = httpx.Limits(max_connections=count)
    headers = {"authorization": "Bearer secret"}
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits, headers=headers) as client:
        answers = await asyncio.gather(*(client.post("/v1/completions", json=asked) for _ in range(count)))
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert refusal(answer)["type"] == "rate_limit_error"
        elif answer.status_code == 200:
            assert answer.json()["usage"]["completion_tokens"] == asked["max_tokens"]
    return Counter(answer.status_code for answer in answers)


async def patient_flood(server: Serving, count: int) -> int:
    """The official client comes again by itself."""
    async with openai.AsyncOpenAI(base_url=server.base, api_key="secret", max_retries=20) as client:
        asks = (client.completions.create(model="endless", prompt="abc", max_tokens=50) for _ in range(count))
        answers = await asyncio.gather(*asks)
    return sum(len(answer.choices) for answer in answers)


def test_an_unknown_field_passes_where_the_server_is_lenient(lenient_server: Serving) -> None:
    with httpx.Client(base_url=lenient_server.base) as client:
        asked = {"prompt": "x", "max_tokens": 2, "tempreture": 1, "priority": -1}
        assert client.post("/completions", json=asked).status_code == 200
        assert client.post("/completions", json={**asked, "suffix": "x"}).status_code == 400
        said = {"role": "user", "content": "x", "mood": "good"}
        assert client.post("/chat/completions", json={"messages": [said], "max_tokens": 2}).status_code == 200


def test_pipelined_requests_are_answered_in_order(tiny_server: Serving) -> None:
    with connect(tiny_server.url) as connection:
        one = request_bytes("/tokenize", {"prompt": "a"})
        connection.sendall(one + request_bytes("/tokenize", {"prompt": "abcabcabc"}))
        connection.settimeout(5)
        received = b""
        while received.count(b'"count"') < 2:
            received += connection.recv(65536)
        first, second = (part.split(b",")[0] for part in received.split(b'"count":')[1:])
        assert int(first) < int(second)
