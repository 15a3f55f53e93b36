"""Streams: pieces add up to the result, leaving cancels, and asyncio gets the same."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from skywork_rt import (
    AsyncGenerator,
    CancelledError,
    DeadlineExceededError,
    Generator,
    InvalidArgumentError,
    SamplingParams,
)

GREEDY = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
LONG = SamplingParams(temperature=0, max_tokens=None, ignore_eos=True)


def wait_until_idle(generator: Generator) -> None:
    """The engine notices a cancellation at its next step."""
    end = time.monotonic() + 10
    while generator.stats()["running"] > 0:
        assert time.monotonic() < end, "the request still runs"
        time.sleep(0.01)


@pytest.mark.parametrize("prompt", ["the quick", "你好", "🍕 and", " leading"])
def test_pieces_add_up_to_the_result(generator: Generator, prompt: str) -> None:
    expected = generator.generate(prompt, GREEDY)
    stream = generator.stream(prompt, GREEDY)
    pieces = list(stream)
    assert "".join(piece.text for piece in pieces) == expected.text
    assert [token for piece in pieces for token in piece.token_ids] == expected.token_ids
    assert pieces[-1].finish_reason == "length"
    assert all(piece.finish_reason is None for piece in pieces[:-1])
    assert stream.result.text == expected.text
    assert all("\ufffd" not in piece.text for piece in pieces) or "\ufffd" in expected.text


def test_sampled_streams_equal_results(generator: Generator) -> None:
    params = SamplingParams(seed=5, max_tokens=60, ignore_eos=True, temperature=1.5)
    text = "".join(piece.text for piece in generator.stream("the", params))
    assert text == generator.generate("the", params).text


def test_samples_of_one_stream_are_told_apart(generator: Generator) -> None:
    params = SamplingParams(seed=5, n=3, max_tokens=10, ignore_eos=True)
    ids: dict[int, list[int]] = {}
    for piece in generator.stream([5, 6], params):
        ids.setdefault(piece.index, []).extend(piece.token_ids)
    expected = generator.generate([5, 6], params)
    assert [ids[i] for i in range(3)] == [output.token_ids for output in expected.outputs]


def test_logprobs_come_with_the_pieces(generator: Generator) -> None:
    pieces = list(generator.stream([5, 6], GREEDY, logprobs=2))
    for piece in pieces:
        assert piece.logprobs is not None
        assert [next(iter(row)) for row in piece.logprobs] == piece.token_ids
    assert all(piece.logprobs is None for piece in generator.stream([5, 6], GREEDY))


def test_leaving_the_loop_cancels(endless: Generator) -> None:
    before = endless.stats()["cancelled"]
    for _piece in endless.stream([5, 6], LONG):
        break
    gc.collect()
    wait_until_idle(endless)
    assert endless.stats()["cancelled"] == before + 1


def test_closing_cancels_and_the_result_says_so(endless: Generator) -> None:
    with endless.stream([5, 6], LONG) as stream:
        next(stream)
    assert list(stream) == []
    with pytest.raises(CancelledError):
        _ = stream.result
    wait_until_idle(endless)


def test_a_finished_stream_is_not_cancelled(generator: Generator) -> None:
    before = generator.stats()
    with generator.stream([5, 6], GREEDY) as stream:
        list(stream)
    after = generator.stats()
    assert after["cancelled"] == before["cancelled"]
    assert after["finished"] == before["finished"] + 1


def test_a_stream_keeps_its_generator_open(tiny_bundle: Path, backend: str, generator: Generator) -> None:
    expected = generator.generate([5, 6], GREEDY).text
    stream = Generator(tiny_bundle, backend=backend).stream([5, 6], GREEDY)
    gc.collect()
    assert "".join(piece.text for piece in stream) == expected


def test_a_stream_takes_one_prompt(generator: Generator) -> None:
    with pytest.raises(InvalidArgumentError, match="a stream takes one prompt, but this is a list of 2"):
        generator.stream([[5], [6]], GREEDY)  # type: ignore[arg-type]


def test_a_deadline_that_passes_is_an_error(endless: Generator, generator: Generator) -> None:
    with pytest.raises(DeadlineExceededError) as caught:
        endless.generate([5] * 50, LONG, deadline=0.05)
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(InvalidArgumentError, match="deadline is -1"):
        generator.generate([5], GREEDY, deadline=-1)
    with pytest.raises(InvalidArgumentError, match="deadline is 'soon'"):
        generator.generate([5], GREEDY, deadline="soon")
    with pytest.raises(InvalidArgumentError, match=r"priority is 1\.5"):
        generator.generate([5], GREEDY, priority=1.5)


# asyncio


@pytest_asyncio.fixture(loop_scope="function")
async def async_generator(generator: Generator) -> AsyncIterator[AsyncGenerator]:
    async with AsyncGenerator(generator) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="function")
async def async_endless(endless: Generator) -> AsyncIterator[AsyncGenerator]:
    async with AsyncGenerator(endless) as opened:
        yield opened


async def test_async_streams_equal_results(async_generator: AsyncGenerator, generator: Generator) -> None:
    expected = generator.generate("the quick", GREEDY)
    pieces = [piece async for piece in async_generator.stream("the quick", GREEDY)]
    assert "".join(piece.text for piece in pieces) == expected.text
    assert [token for piece in pieces for token in piece.token_ids] == expected.token_ids
    assert pieces[-1].finish_reason == "length"


async def test_async_results_equal_results(async_generator: AsyncGenerator, generator: Generator) -> None:
    prompts = [[5], [17, 90, 401], [9] * 30]
    expected = [result.token_ids for result in generator.generate(prompts, GREEDY)]
    results = await asyncio.gather(*(async_generator.generate(prompt, GREEDY) for prompt in prompts))
    assert [result.token_ids for result in results] == expected


@pytest.mark.parametrize("options", [{"n": 3, "seed": 1}, {"temperature": 0, "num_beams": 4, "n": 2}])
async def test_async_requests_of_several_samples_end(
    async_generator: AsyncGenerator, generator: Generator, options: dict[str, Any]
) -> None:
    params = SamplingParams(max_tokens=8, **options)
    expected = [output.token_ids for output in generator.generate([5, 6], params).outputs]
    result = await asyncio.wait_for(async_generator.generate([5, 6], params), 20)
    assert [output.token_ids for output in result.outputs] == expected
    ids: dict[int, list[int]] = {}
    async for piece in async_generator.stream([5, 6], params):
        ids.setdefault(piece.index, []).extend(piece.token_ids)
    assert [ids[i] for i in range(params.n)] == expected


async def test_leaving_an_async_loop_cancels(async_endless: AsyncGenerator, endless: Generator) -> None:
    before = endless.stats()["cancelled"]
    async for _piece in async_endless.stream([5, 6], LONG):
        break
    gc.collect()
    await asyncio.to_thread(wait_until_idle, endless)
    assert endless.stats()["cancelled"] == before + 1


async def test_cancelling_the_task_cancels_the_request(async_endless: AsyncGenerator, endless: Generator) -> None:
    before = endless.stats()["cancelled"]
    started = asyncio.Event()

    async def consume() -> None:
        async for _piece in async_endless.stream([5, 6], LONG):
            started.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    await asyncio.to_thread(wait_until_idle, endless)
    assert endless.stats()["cancelled"] == before + 1


async def test_the_loop_runs_while_tokens_are_made(async_endless: AsyncGenerator) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticker = asyncio.create_task(tick())
    result = await async_endless.generate([5, 6], LONG, max_tokens=2000)
    ticker.cancel()
    assert len(result.token_ids) == 2000
    assert ticks > 10


async def test_a_failing_async_request_raises_its_error(async_endless: AsyncGenerator) -> None:
    with pytest.raises(DeadlineExceededError):
        await async_endless.generate([5] * 50, LONG, deadline=0.05)
    with pytest.raises(DeadlineExceededError):
        async for _piece in async_endless.stream([5] * 50, LONG, deadline=0.05):
            pass
    with pytest.raises(InvalidArgumentError, match="600"):
        async_endless.stream([600], LONG)


async def test_async_chat(async_generator: AsyncGenerator, generator: Generator) -> None:
    messages = [{"role": "user", "content": "Hello!"}]
    expected = generator.chat(messages, GREEDY).text
    assert (await async_generator.chat(messages, GREEDY)).text == expected
    assert "".join([piece.text async for piece in async_generator.chat_stream(messages, GREEDY)]) == expected


async def test_an_owned_generator_closes_with_the_async_one(tiny_bundle: Path, backend: str) -> None:
    async with AsyncGenerator(tiny_bundle, backend=backend) as opened:
        stream = opened.stream([5, 6], GREEDY)
        assert len((await stream.result()).token_ids) == 40
    with pytest.raises(Exception, match=r"closed|close"):
        opened.generator.generate([5], GREEDY)
    with pytest.raises(InvalidArgumentError, match="options belong to opening a bundle"):
        AsyncGenerator(opened.generator, threads=1)


async def test_closing_with_finish_waits_for_what_runs(tiny_bundle: Path, backend: str) -> None:
    opened = AsyncGenerator(tiny_bundle, backend=backend)
    stream = opened.stream([5, 6], GREEDY)
    await opened.close(finish=True)
    assert len((await stream.result()).token_ids) == 40
