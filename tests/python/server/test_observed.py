"""What a server tells of itself: metrics, log lines, versions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic
from serving import Serving, serving

import skywork_rt

pytestmark = pytest.mark.slow

SECRET = "a prompt that nobody shall read"
ASKED: dict[str, Any] = {"prompt": SECRET, "max_tokens": 5, "temperature": 0, "ignore_eos": True}


def test_metrics_count_what_was_done(tiny_server: Serving, http: httpx.Client) -> None:
    before = tiny_server.metrics()
    first = http.post("/v1/completions", json=ASKED).json()
    http.post("/v1/completions", json=ASKED)
    http.post("/v1/completions", json={**ASKED, "temperature": -1})
    after = tiny_server.metrics()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    label = "{model_name=tiny}"
    prompt = first["usage"]["prompt_tokens"]
    assert grown("prompt_tokens_total" + label) == 2 * prompt
    assert grown("generation_tokens_total" + label) == 10
    assert grown("prefix_cache_queries_total" + label) == 2 * prompt
    assert grown("prefix_cache_hits_total" + label) >= prompt - 1
    assert grown("request_success_total{finished_reason=length,model_name=tiny}") == 2
    assert grown("request_errors_total{code=invalid_value,model_name=tiny}") == 1
    assert grown("http_requests_total{path=/v1/completions,status=200}") == 2
    assert grown("http_requests_total{path=/v1/completions,status=400}") == 1
    for name in ("time_to_first_token_seconds", "time_per_output_token_seconds", "request_queue_time_seconds"):
        assert grown(f"{name}_count{label}") == 2
        assert grown(f"{name}_sum{label}") > 0
    assert after["model_loaded" + label] == 1
    assert 0 < after["kv_cache_usage_perc" + label] <= 1
    assert after["num_requests_running" + label] == after["num_requests_waiting" + label] == 0


def test_the_page_is_prometheus_own_format_in_both_dialects(http: httpx.Client) -> None:
    page = http.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    families = {family.name for family in classic(page.text) if not family.name.endswith("_created")}
    modern = http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics(modern.text)} == families
    assert all(name.startswith("skywork_rt_") for name in families)
    assert len(families) >= 20


def test_errors_are_counted_by_code_wherever_they_arise(tiny_server: Serving, http: httpx.Client) -> None:
    def count(code: str, model: str) -> float:
        return tiny_server.metrics().get(f"request_errors_total{{code={code},model_name={model}}}", 0.0)

    kinds = {("invalid_json", ""): b"{", ("model_not_found", ""): b'{"model": "other", "prompt": "x"}',
             ("invalid_type", ""): b'{"prompt": "x", "n": "many"}',
             ("context_length_exceeded", "tiny"): b'{"prompt": "x", "max_tokens": 99999}'}  # fmt: skip
    before = {kind: count(*kind) for kind in kinds}
    for body in kinds.values():
        http.post("/v1/completions", content=body)
    assert {kind: count(*kind) - before[kind] for kind in kinds} == dict.fromkeys(kinds, 1)


def test_time_a_token_is_that_of_one_answer(tiny_server: Serving, http: httpx.Client) -> None:
    """Answers to one prompt run side by side: eight of them take no eighth of the time a token."""

    def taken() -> tuple[float, float]:
        found = tiny_server.metrics()
        return tuple(found.get(f"{name}_sum{{model_name=tiny}}", 0.0) for name in (  # type: ignore[return-value]
            "time_per_output_token_seconds", "e2e_request_latency_seconds"))  # fmt: skip

    before = taken()
    http.post("/v1/completions", json={**ASKED, "n": 8, "max_tokens": 100, "temperature": 1})
    per_token, whole = (after - earlier for after, earlier in zip(taken(), before, strict=True))
    assert 0.3 * whole < 99 * per_token < whole


def test_a_thousand_paths_make_one_series(tiny_server: Serving, http: httpx.Client) -> None:
    for number in range(20):
        http.get(f"/nothing/{number}")
    paths = {key for key in tiny_server.metrics() if key.startswith("http_requests_total")}
    assert not [key for key in paths if "nothing" in key]
    assert "http_requests_total{path=other,status=404}" in paths


def test_a_line_of_the_log_has_everything_but_the_prompt(tiny_server: Serving, http: httpx.Client) -> None:
    answer = http.post("/v1/completions", json={**ASKED, "n": 2}, headers={"x-request-id": "look-for-me"}).json()
    line = _line(tiny_server, "look-for-me")
    assert line["model"] == "tiny"
    assert line["path"] == "/v1/completions"
    assert line["status"] == 200
    assert line["prompt_tokens"] == answer["usage"]["prompt_tokens"]
    assert line["completion_tokens"] == 10
    assert 0 < line["ttft_seconds"] <= line["seconds"]
    http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": SECRET}], "max_tokens": 2})
    http.post("/v1/completions", json={**ASKED, "temperature": -1}, headers={"x-request-id": "wrong"})
    assert _line(tiny_server, "wrong")["error"] == "invalid_value"
    log = tiny_server.log.read_text(encoding="utf-8")
    assert SECRET not in log
    assert SECRET[:10] not in log


def test_prompts_are_logged_only_when_told(lenient_server: Serving) -> None:
    answer = httpx.post(lenient_server.base + "/completions", json=ASKED, headers={"x-request-id": "told"}).json()
    line = _line(lenient_server, "told")
    assert SECRET in line["prompts"][0]
    assert line["answers"] == [[answer["choices"][0]["text"]]]


def _line(server: Serving, request_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = [line for line in server.lines() if line.get("request_id") == request_id]
        if found:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"no line of {request_id}")


def test_the_version_is_the_packages(http: httpx.Client) -> None:
    assert http.get("/version").json() == {"version": skywork_rt.__version__}


def test_tokens_go_there_and_back_in_vllms_shapes(http: httpx.Client, tiny: skywork_rt.Generator) -> None:
    answer = http.post("/tokenize", json={"prompt": "Hello", "return_token_strs": True}).json()
    assert answer["tokens"] == tiny.encode("Hello")
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] == tiny.max_length
    bare = http.post("/tokenize", json={"prompt": "Hello", "add_special_tokens": False}).json()
    assert bare["tokens"] == tiny.encode("Hello", add_special_tokens=False)
    assert http.post("/detokenize", json={"tokens": bare["tokens"]}).json() == {"prompt": "Hello"}
    messages = [{"role": "user", "content": "Hi"}]
    chat = http.post("/tokenize", json={"messages": messages, "add_generation_prompt": False}).json()
    assert chat["tokens"] == tiny.encode_chat(messages, add_generation_prompt=False)


def test_a_bundle_without_a_template_or_tokenizer_says_so(bare_bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, f"bare={bare_bundle}") as server:
        ids = httpx.post(server.url + "/v1/completions", json={"prompt": [1, 2, 3], "max_tokens": 2, "logprobs": 1})
        assert ids.status_code == 200
        assert ids.json()["choices"][0]["logprobs"]["tokens"][0].startswith("token_id:")
        for path, body in (
            ("/v1/completions", {"prompt": "text"}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
            ("/tokenize", {"prompt": "x"}),
        ):
            answer = httpx.post(server.url + path, json=body)
            assert answer.status_code == 400
            assert "tokenizer" in answer.json()["error"]["message"]
