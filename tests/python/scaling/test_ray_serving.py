"""The server on Ray: two replicas on one machine, with the real Ray Serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytest.importorskip("ray")

from ray import serve
from ray.exceptions import RayActorError
from ray_apps import JSON, App, ray_serve, until

pytestmark = pytest.mark.slow

LONG = 20_000
"""Tokens of an answer that is still running when a test looks at it."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ray_serve() as found:
        yield found


@pytest.fixture(scope="module")
def app(url: str, endless_bundle: Path) -> App:
    return App(url, "prefix", {"m": endless_bundle}, replicas=2)


def shared_prompts(name: str) -> list[str]:
    """Three questions to each of twenty contexts, in turns. Another name makes other contexts."""
    contexts = [f"{name}{context:02}" * 133 for context in range(20)]
    return [f"{context} question {number}" for number in range(3) for context in contexts]


async def hit_tokens(app: App, ask: Callable[[dict[str, Any]], Awaitable[tuple[int, Any]]], name: str) -> int:
    """Of the prompts' tokens, those that a replica had in its cache."""
    before = await app.total("prefix_hit_tokens")
    for at in range(0, 60, 5):
        prompts = shared_prompts(name)[at : at + 5]
        answers = await asyncio.gather(*(ask({"prompt": prompt, "max_tokens": 8}) for prompt in prompts))
        assert [status for status, _ in answers] == [200] * 5
    return await app.total("prefix_hit_tokens") - before


async def test_prompts_go_where_their_start_is_cached(app: App) -> None:
    theirs = await hit_tokens(app, app.post_by_default_router, "d")
    before = {replica: stats["m"]["requests"] for replica, stats in (await app.stats()).items()}
    ours = await hit_tokens(app, app.post, "p")
    print(f"tokens of prompts that a cache had: {ours} with our router, {theirs} with Ray Serve's default")
    shares = [stats["m"]["requests"] - before[replica] for replica, stats in (await app.stats()).items()]
    assert ours > theirs, "each context is computed by one replica, not by both"
    assert min(shares) > 15, f"both replicas work: {shares}"


async def test_an_answer_is_that_of_the_server(app: App) -> None:
    body = {"prompt": "hello there", "max_tokens": 6, "temperature": 0}
    status, answer = await app.post(body)
    events = await app.events(body)
    assert status == 200 and answer["usage"]["completion_tokens"] == 6
    assert "".join(e["choices"][0]["text"] for e in events[:-1]) == answer["choices"][0]["text"]
    assert events[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "JSON"),
        (b'{"model": "m", "prompt": "x", "max_tokens": "many"}', 400, "max_tokens"),
        (b'{"model": "other", "prompt": "x"}', 404, "other"),
        (b'{"model": "m", "prompt": "' + b"x" * 9_000_000 + b'"}', 413, "8388608 bytes"),
    ],
)
async def test_what_is_wrong_is_told_as_by_one_server(app: App, body: bytes, status: int, message: str) -> None:
    found, answer = await app.post(body)
    assert found == status
    assert message in answer["error"]["message"]


async def test_the_page_comes_through_the_ingress_with_its_policy(app: App) -> None:
    async with aiohttp.ClientSession() as session:
        for path, kind in (("/", "text/html"), ("/page/app.js", "text/javascript")):
            async with session.get(app.url + path) as answer:
                assert (answer.status, answer.content_type) == (200, kind)
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                again = {"If-None-Match": answer.headers["etag"]}
            async with session.get(app.url + path, headers=again) as answer:
                assert answer.status == 304


async def test_metrics_are_those_of_all_replicas(app: App) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    async with aiohttp.ClientSession() as session, session.get(app.url + "/metrics") as answer:
        assert answer.status == 200
        families = list(parser.text_string_to_metric_families(await answer.text()))
    replicas = {sample.labels["replica"] for family in families for sample in family.samples}
    assert replicas == set(await app.stats())


async def test_a_client_that_leaves_frees_its_replica(app: App) -> None:
    body = json.dumps({"model": "m", "prompt": "on and on", "max_tokens": LONG, "ignore_eos": True, "stream": True})
    async with aiohttp.ClientSession() as session:
        answer = await session.post(app.url + "/v1/completions", data=body, headers=JSON)
        await answer.content.readline()
        assert await app.total("running") == 1
        answer.close()

    async def freed() -> bool:
        return await app.total("running") == 0 and await app.total("cancelled") >= 1

    await until(freed)


async def test_no_request_is_lost_when_a_replica_is_killed(app: App) -> None:
    """Whole answers are computed again elsewhere; a stream that had begun says that it is cut."""
    body, begun = {"max_tokens": 1200, "ignore_eos": True}, list[int]()
    streams = [
        asyncio.create_task(app.events({"prompt": f"stream {i}", **body}, lambda i=i: begun.append(i)))  # type: ignore[misc]
        for i in range(8)
    ]
    wholes = [asyncio.create_task(app.post({"prompt": f"whole {i}", **body})) for i in range(6)]
    busiest = ""

    async def works() -> bool:
        nonlocal busiest
        running = {replica: stats["m"]["running"] for replica, stats in (await app.stats()).items()}
        busiest = max(running, key=lambda replica: running[replica])
        return len(begun) == 8 and running[busiest] >= 7  # so a stream is among them

    await until(works)
    app.kill(busiest)
    async with asyncio.timeout(60):
        answers, events = await asyncio.gather(*wholes), await asyncio.gather(*streams)
    assert [(status, answer["usage"]["completion_tokens"]) for status, answer in answers] == [(200, 1200)] * 6
    lost = [stream[-1]["error"]["code"] for stream in events if stream[-1] != "[DONE]"]
    assert set(lost) == {"replica_lost"}
    print(f"6 answers whole; of 8 streams {len(lost)} were told of their replica's end")

    async def replaced() -> bool:
        try:
            return len(await app.stats()) == 2
        except RayActorError:  # Ray has not noticed yet
            return False

    await until(replaced, 30, pause=0.5)
    assert (await app.post({"prompt": "after", "max_tokens": 2}))[0] == 200


@pytest.mark.long
async def test_models_are_opened_where_they_are_asked_for(
    url: str, tiny_bundle: Path, sentencepiece_bundle: Path
) -> None:
    """One model a replica at once: each has its own replica as long as both are asked for."""
    app = App(url, "models", {"a": tiny_bundle, "b": sentencepiece_bundle}, replicas=2)
    try:
        for model in ("a", "b", "a", "b", "b", "a"):
            status, answer = await app.post({"model": model, "prompt": "hello", "max_tokens": 3})
            assert status == 200, answer
            assert answer["model"] == model
        opened = [set(models) for models in (await app.stats()).values()]
        assert all(len(models) == 1 for models in opened), opened
    finally:
        serve.delete("models")


async def test_what_runs_ends_before_its_replica(app: App) -> None:
    """The last test: it takes the application down."""
    running = asyncio.create_task(app.post({"prompt": "last", "max_tokens": 2500, "ignore_eos": True}))

    async def runs() -> bool:
        return await app.total("running") == 1

    await until(runs)
    serve.delete(app.name, _blocking=False)
    status, answer = await running
    assert (status, answer["usage"]["completion_tokens"]) == (200, 2500)
