"""Several bundles in one server, within a bound of memory."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from serving import Serving, serving

from skywork_rt import CapacityError
from skywork_rt.server.memory import need_of
from skywork_rt.server.models import Model, Models
from skywork_rt.server.settings import ServerSettings

pytestmark = pytest.mark.slow


def bound_for(*bundles: Path, spare: int = 0) -> int:
    return sum(need_of(str(bundle), OPTIONS, None)[0].total for bundle in bundles) + spare


OPTIONS = {"max_batch": 2, "max_length": 128}
ARGUMENTS = ("--max-batch", "2", "--max-length", "128")


def open_models(server: Serving) -> list[str]:
    return sorted(card["id"] for card in httpx.get(server.url + "/v1/models").json()["data"] if card["loaded"])


def ask(server: Serving, model: str, **fields: Any) -> httpx.Response:
    asked = {"model": model, "prompt": "abc", "max_tokens": 2, **fields}
    return httpx.post(server.url + "/v1/completions", json=asked, timeout=60)


def test_models_open_when_they_are_asked_for(tiny_bundle: Path, sentencepiece_bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, f"one={tiny_bundle}", f"two={sentencepiece_bundle}") as server:
        assert open_models(server) == ["one"]
        with openai.OpenAI(base_url=server.base, api_key="none", max_retries=0) as client:
            assert client.completions.create(model="two", prompt="abc", max_tokens=2).model == "two"
            with pytest.raises(openai.NotFoundError, match="one, two") as caught:
                client.completions.create(model="three", prompt="abc")
            assert caught.value.code == "model_not_found"
        assert open_models(server) == ["one", "two"]
        missing = httpx.post(server.url + "/v1/completions", json={"prompt": "abc"})
        assert missing.status_code == 400
        assert missing.json()["error"]["param"] == "model"


def test_the_longest_unused_one_makes_room(tiny_bundle: Path, tmp_path: Path) -> None:
    bound = bound_for(tiny_bundle, tiny_bundle)
    names = [f"{name}={tiny_bundle}" for name in "abc"]
    with serving(tmp_path, *names, *ARGUMENTS, "--max-model-memory", str(bound)) as server:
        for model, expected in (("b", ["a", "b"]), ("a", ["a", "b"]), ("c", ["a", "c"]), ("b", ["b", "c"])):
            assert ask(server, model).status_code == 200
            assert open_models(server) == expected
        for _ in range(3):
            for model in "abc":
                assert ask(server, model).status_code == 200
        assert len(open_models(server)) == 2


def test_who_finds_no_room_waits_for_it_and_is_told_when_it_does_not_come(endless_bundle: Path, tmp_path: Path) -> None:
    bound = need_of(str(endless_bundle), {}, None)[0].weights + 62_000 * 512  # bytes of a token's keys and values
    names = [f"{name}={endless_bundle}" for name in "ab"]
    options = ("--max-batch", "2", "--max-model-memory", str(bound), "--model-seconds", "1")
    endless = {"prompt": "abc", "max_tokens": 60_000, "ignore_eos": True, "stream": True}
    with serving(tmp_path, *names, *options) as server:
        with httpx.stream("POST", server.url + "/v1/completions", json={"model": "a", **endless}) as busy:
            assert busy.status_code == 200
            begun = time.monotonic()
            answer = ask(server, "b")
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "model_busy"
            assert answer.headers["retry-after"]
            assert 0.9 < time.monotonic() - begun < 20
        assert ask(server, "b").status_code == 200
        assert open_models(server) == ["b"]


async def test_a_model_whose_client_left_while_it_opened_makes_room_for_others(
    tiny_bundle: Path, endless_bundle: Path
) -> None:
    settings = ServerSettings(
        models={"left": str(endless_bundle), "other": str(tiny_bundle)}, generator={**OPTIONS, "backend": "native"},
        max_model_memory=bound_for(endless_bundle), model_seconds=10,
    )  # fmt: skip
    models = Models(settings)
    left, other = models

    async def ask(model: Model) -> None:
        async with models.use(model):
            assert model.is_open

    leaving = asyncio.create_task(ask(left))
    while not left.takes_memory:
        await asyncio.sleep(0)
    leaving.cancel()
    await ask(other)
    assert not left.is_open
    await models.close()
    assert not other.is_open


def test_a_name_with_a_slash_is_found(lenient_server: Serving) -> None:
    with openai.OpenAI(base_url=lenient_server.base, api_key="none") as client:
        assert client.models.retrieve("people/tiny").id == "people/tiny"
    assert httpx.get(lenient_server.base + "/models/people/tiny").json()["id"] == "people/tiny"
    assert httpx.get(lenient_server.base + "/models/people/other").json()["error"]["code"] == "model_not_found"


def test_concurrent_requests_for_more_models_than_fit_are_all_answered(tiny_bundle: Path, tmp_path: Path) -> None:
    names = [f"{name}={tiny_bundle}" for name in "abcd"]
    options = ("--max-model-memory", str(bound_for(tiny_bundle, tiny_bundle)))
    with serving(tmp_path, *names, *ARGUMENTS, *options) as server:
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda name=name: statuses.append(ask(server, name).status_code))
            for name in "abcd" * 5
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 20


def test_weights_that_never_fit_are_refused_at_the_start(tiny_bundle: Path) -> None:
    with pytest.raises(CapacityError, match="max_model_memory is 1000"):
        need_of(str(tiny_bundle), OPTIONS, 1000)


def test_a_cache_that_does_not_fit_is_made_smaller(tiny_bundle: Path) -> None:
    whole, options = need_of(str(tiny_bundle), OPTIONS, None)
    assert "max_cache_bytes" not in options
    need, options = need_of(str(tiny_bundle), OPTIONS, whole.total - whole.cache // 2)
    assert need.weights == whole.weights
    assert options["max_cache_bytes"] == need.cache == whole.cache - whole.cache // 2
