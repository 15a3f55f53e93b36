"""Whatever is sent is answered properly: never a 500, a traceback or a hang, and nothing is left behind."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from raw import answer_of, connect, request_bytes
from serving import Serving

from skywork_rt.server.errors import ApiError
from skywork_rt.server.json_body import parse_object

BODIES: list[tuple[bytes, str]] = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"nonsense", "not JSON"),
    (b"{}{}", "not JSON"),
    (b"[]", "array, but must be an object"),
    (b'"text"', "string, but must be"),
    (b"null", "null, but must be"),
    (b"true", "boolean, but must be"),
    (b'{"a": NaN}', "NaN, which is no number"),
    (b'{"a": -Infinity}', "-Infinity, which is no number"),
    (b'{"a": 1e999}', "which no double holds"),
    (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"),
    (b'{"a": 1, "a": 2}', "'a' twice"),
    (b'{"a": {"b": 1, "b": 1}}', "'b' twice"),
    (b'{"a": "\xff"}', "not UTF-8: byte 7"),
    ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    (b'{"a": "\\ud800"}', "lone surrogate"),
    (b'{"\\udfff": 1}', "lone surrogate"),
    (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "deeper than 64"),
    (b"[" * 100_000, "deeper than 64"),
    (b'{"a":' * 100_000, "deeper than 64"),
]


@pytest.mark.parametrize(("body", "reason"), BODIES, ids=[str(body[:20]) for body, _ in BODIES])
def test_what_json_readers_differ_on_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as caught:
        parse_object(body)
    assert caught.value.status == 400


def test_what_is_an_object_is_read() -> None:
    body = '{"a": [1, -2.5, 1e3, "é\\ud83d\\ude00", null, true], "": {}}'.encode()
    assert parse_object(body) == {"a": [1, -2.5, 1000.0, "é😀", None, True], "": {}}


def mutated(body: bytes, random_: random.Random) -> bytes:
    """A body with some of its bytes or values changed."""
    if random_.random() < 0.5:
        changed = bytearray(body)
        for _ in range(random_.randrange(1, 4)):
            place = random_.randrange(len(changed) + 1)
            kind = random_.random()
            if kind < 0.4 and changed:
                changed[place % len(changed)] = random_.randrange(256)
            elif kind < 0.7:
                del changed[place : place + random_.randrange(8)]
            else:
                changed[place:place] = random_.choice([b'"', b"{", b"]", b"\\", b"NaN", b"1e400", b"\x00", b"\xf0"])
        return bytes(changed)
    value = json.loads(body)
    name = random_.choice(list(value))
    value[name] = random_.choice(VALUES)
    if random_.random() < 0.3:
        value[random_.choice(NAMES)] = random_.choice(VALUES)
    return json.dumps(value).encode()


VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 10**30, -(2**31), 2**31, 0.5, -1e308, 1e-320, "", "x", "x" * 3000, [], {}, [[]],
    [None], [1, "a"], ["a", 1], {"1": 1}, {"a": []}, [[1, 2], "a"], [[[1]]], {"type": "text"}, [0] * 3000, "\u0000",
    [{"role": "user", "content": None}], [{"role": "user"}], [{"role": 1, "content": "x"}], [{}], "😀" * 100,
    [{"type": "function", "function": {"name": "f"}}], [{"type": "function", "name": "f", "parameters": {"a": [1]}}],
    [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": 3}}}], "required",
    [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}],
    [{"role": "tool", "tool_call_id": "a", "content": "x"}], {"type": "function", "function": {"name": "f"}},
    [{"type": "function_call", "call_id": 3}], [{"type": "function_call_output", "output": []}],
]  # fmt: skip
NAMES = [
    "prompt", "messages", "max_tokens", "temperature", "top_p", "top_k", "n", "best_of", "stop", "stop_token_ids",
    "logprobs", "top_logprobs", "logit_bias", "seed", "echo", "stream", "stream_options", "prompt_logprobs",
    "min_tokens",
    "bad_words_ids", "num_beams", "use_beam_search", "chat_template_kwargs", "documents", "cache_salt", "priority",
    "response_format", "tools", "tool_choice", "parallel_tool_calls", "unknown",
    "model", "input", "instructions", "include", "text", "tokens",
    "continue_final_message", "add_generation_prompt", "no_repeat_ngram_size", "typical_p", "repetition_penalty",
]  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": "tiny", "prompt": "Once upon", "max_tokens": 2, "temperature": 0.5, "n": 1},
    "/v1/chat/completions": {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2},
    "/v1/responses": {"model": "tiny", "input": "Hi", "max_output_tokens": 2},
    "/tokenize": {"model": "tiny", "prompt": "Hi"},
    "/detokenize": {"model": "tiny", "tokens": [1, 2]},
}


@pytest.mark.slow
def test_1000_malformed_bodies_are_each_answered_properly(tiny_server: Serving, http: httpx.Client) -> None:
    random_ = random.Random(18)
    seen: set[int] = set()
    for _ in range(1000):
        path = random_.choice(list(GOOD))
        body = mutated(json.dumps(GOOD[path]).encode(), random_)
        answer = http.post(path, content=body)
        seen.add(answer.status_code)
        assert answer.status_code in (200, 400, 404), (path, body, answer.text)
        if answer.status_code != 200:
            error = answer.json()["error"]
            assert error["message"] and "Traceback" not in error["message"]
    assert {200, 400} <= seen
    tiny_server.wait_until_idle()
    assert not [line for line in tiny_server.lines() if line["event"] == "failure"]
    assert http.post("/v1/completions", json=GOOD["/v1/completions"]).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "begin",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,  # TLS
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: nonsense\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 600_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%ff%fe%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: \xff\xfe\r\nConnection: close\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: \xff\r\nConnection: close\r\n\r\n",
    ],
    ids=lambda begin: str(begin[:30]),
)
def test_what_is_no_http_is_ended(tiny_server: Serving, begin: bytes) -> None:
    with connect(tiny_server.url) as connection:
        connection.sendall(begin)
        answer = answer_of(connection)
        assert not answer or answer.split(b" ")[1][:1] in (b"2", b"4"), answer
    assert httpx.get(tiny_server.url + "/health").status_code == 200
    assert not [line for line in tiny_server.lines() if line["event"] == "failure"]


@pytest.mark.slow
def test_a_body_of_many_wrong_values_holds_nobody_up(tiny_server: Serving) -> None:
    many = json.dumps(["x"] * 100_000)
    for field in ("stop_token_ids", "bad_words_ids", "prompt", "stop"):
        body = f'{{"prompt": "x", "max_tokens": 1, "{field}": {many}}}'.encode()
        if field == "prompt":
            body = f'{{"prompt": {many}, "max_tokens": 1}}'.encode()
        answer = httpx.post(tiny_server.url + "/v1/completions", content=body, timeout=10)
        assert answer.status_code == 400
        assert answer.elapsed.total_seconds() < 5


@pytest.mark.slow
def test_others_are_answered_while_a_long_body_is_read(tiny_server: Serving, http: httpx.Client) -> None:
    body = b'{"prompt": [' + b",".join([b"[]"] * 400_000) + b"]}"
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(httpx.post, tiny_server.url + "/v1/completions", content=body, timeout=60)
        meanwhile = 0
        while not asking.done():
            assert http.get("/health").status_code == 200
            meanwhile += 1
        assert asking.result().status_code == 400
    assert meanwhile > 3


@pytest.mark.slow
def test_request_ids_go_in_and_out(tiny_server: Serving, http: httpx.Client) -> None:
    assert http.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    new = http.get("/health").headers["x-request-id"]
    assert len(new) == 32
    assert http.get("/health", headers={"x-request-id": "x" * 500}).headers["x-request-id"] != "x" * 500
    assert request_bytes("/x", {}).startswith(b"POST /x")
