"""asyncio: several loops, an end that always comes, closing, tokenising off the loop, work in proportion to news."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import skywork_rt.api
from skywork_rt import (
    AsyncGenerator,
    BusyError,
    CancelledError,
    ClosedError,
    DeadlineExceededError,
    Generator,
    InvalidArgumentError,
    SamplingParams,
    _core,
)
from skywork_rt.api.async_stream import AsyncStream
from skywork_rt.text.tokenizer import Tokenizer

GREEDY = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
LONG = SamplingParams(temperature=0, max_tokens=None, ignore_eos=True)
PATIENCE = 20.0  # seconds after which what should have come is taken to be lost


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


class GatedTokenizer:
    """Notes the threads that encode, and lets none go on while its gate is shut."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.threads: list[int] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def encode(self, text: str, *, add_special_tokens: bool | None = None) -> list[int]:
        self.threads.append(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(PATIENCE), "the loop did not go on meanwhile"
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@pytest.fixture
def gated(tiny_bundle: Path) -> Iterator[tuple[Generator, GatedTokenizer]]:
    with Generator(tiny_bundle, backend="native") as generator:
        assert generator.tokenizer is not None
        tokenizer = GatedTokenizer(generator.tokenizer)
        generator._tokenizer = tokenizer
        yield generator, tokenizer
        tokenizer.gate.set()


@pytest.fixture
def single(endless_bundle: Path) -> Iterator[Generator]:
    """One request at a time, and two that wait."""
    with Generator(endless_bundle, backend="native", max_batch=1, max_queue=2) as generator:
        yield generator


def in_threads(count: int, run: Callable[[int], Coroutine[Any, Any, Any]]) -> list[Any]:
    """What `run(i)` gives, each in a loop and thread of its own, all at once."""
    results: list[Any] = [None] * count

    def work(index: int) -> None:
        try:
            results[index] = asyncio.run(run(index))
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE)
        assert not thread.is_alive(), "a loop hangs"
    return results


# The end.


@pytest.mark.parametrize("how", ["logit_bias", "bad_words_ids"])
async def test_beams_that_are_fewer_than_asked_for_end(generator: Generator, how: str) -> None:
    banned = [token for token in range(generator.model.vocab_size) if token != 7]
    bans: dict[str, Any] = {
        "logit_bias": dict.fromkeys(banned, -math.inf),
        "bad_words_ids": [[token] for token in banned],
    }
    params = SamplingParams(temperature=0, num_beams=4, n=4, max_tokens=3, **{how: bans[how]})
    expected = generator.generate([5, 6], params)
    assert 0 < len(expected.outputs) < 4, "else this test shows nothing"
    opened = AsyncGenerator(generator)
    result = await asyncio.wait_for(opened.generate([5, 6], params), PATIENCE)
    assert [output.token_ids for output in result.outputs] == [output.token_ids for output in expected.outputs]

    async def pieces() -> list[int]:
        return [piece.index async for piece in opened.stream([5, 6], params)]

    assert await asyncio.wait_for(pieces(), PATIENCE) == list(range(len(expected.outputs)))
    await opened.close()


def _events_until_the_end(mailbox: _core.Mailbox, key: int) -> list[bool]:
    ends: list[bool] = []
    while not any(ends):
        ends += [ended for posted, ended in mailbox.take() if posted == key]
    return ends


def test_the_end_is_posted_last_whatever_it_is(endless: Generator) -> None:
    core = endless._core
    mailbox = _core.Mailbox()
    good, cancelled, expired = (mailbox.open() for _ in range(3))
    endless_request = core.request([5, 6], LONG.to_core())  # type: ignore[arg-type]
    handle = core.submit(core.request([5, 6], GREEDY.to_core()), mailbox, good)  # type: ignore[arg-type]
    tokens: list[int] = []
    ended = False
    while not ended:
        for _key, last in mailbox.take():
            assert not ended, "news after the end"
            ended = last
            while update := handle.take():
                tokens += update.token_ids
    assert handle.take() is None, "after the end nobody waits"
    assert tokens == handle.result().samples[0].token_ids

    handle = core.submit(endless_request, mailbox, cancelled)
    handle.cancel()
    assert _events_until_the_end(mailbox, cancelled)[-1]
    with pytest.raises(CancelledError):
        handle.result()
    handle = core.submit(core.request([5, 6], LONG.to_core(), 0, 0.05), mailbox, expired)  # type: ignore[arg-type]
    assert _events_until_the_end(mailbox, expired)[-1]
    with pytest.raises(DeadlineExceededError):
        handle.result()


async def test_a_slow_reader_gets_longer_pieces_and_nothing_piles_up(generator: Generator) -> None:
    async with AsyncGenerator(generator) as opened:
        stream = opened.stream([5, 6], GREEDY)
        await stream.wait()
        (piece,) = [piece async for piece in stream]
        assert piece.token_ids == (await stream.result()).token_ids
        assert piece.finish_reason == "length"


# Closing.


async def test_aclosing_closes_a_stream(endless: Generator) -> None:
    before = endless.stats()["cancelled"]
    async with AsyncGenerator(endless) as opened:
        async with contextlib.aclosing(opened.stream([5, 6], LONG)) as stream:
            async for _piece in stream:
                break
        after = endless.stats()
        assert (after["running"], after["cancelled"]) == (0, before + 1), "when it returns, the request is gone"
        assert [piece async for piece in stream] == []
        with pytest.raises(CancelledError):
            await stream.result()
        await stream.aclose()


async def test_leaving_async_with_waits_for_the_end(endless: Generator) -> None:
    async with AsyncGenerator(endless) as opened:
        async with opened.stream([5, 6], LONG) as stream:
            await anext(stream)
        assert endless.stats()["running"] == 0


async def test_closing_a_stream_that_has_ended_keeps_its_result(generator: Generator) -> None:
    async with AsyncGenerator(generator) as opened:
        stream = opened.stream([5, 6], GREEDY)
        pieces = [piece async for piece in stream]
        await stream.aclose()
        assert (await stream.result()).text == "".join(piece.text for piece in pieces)


async def test_nothing_runs_when_close_returns(single: Generator) -> None:
    opened = AsyncGenerator(single)
    streams = [opened.stream([5 + i], LONG) for i in range(2)]
    await anext(streams[0])
    await opened.close()
    stats = single.stats()
    assert (stats["running"], stats["queued"], stats["cancelled"]) == (0, 0, 2)
    for stream in streams:
        with pytest.raises(CancelledError):
            await asyncio.wait_for(stream.result(), PATIENCE)
    assert len((await opened.generate([5], LONG, max_tokens=3)).token_ids) == 3, "what was given stays open"


async def test_cancelling_a_close_that_waits_cancels_what_runs(endless: Generator) -> None:
    opened = AsyncGenerator(endless)
    stream = opened.stream([5], LONG)
    await anext(stream)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(opened.close(finish=True), 0.1)
    with pytest.raises(CancelledError):
        await asyncio.wait_for(stream.result(), PATIENCE)


# Several loops.


def test_several_loops_share_a_generator(generator: Generator) -> None:
    prompts = [[5], [17, 90, 401], [9] * 30, [12, 13]]
    expected = [result.token_ids for result in generator.generate(prompts, GREEDY)]
    opened = AsyncGenerator(generator)

    async def ask(index: int) -> list[list[int]]:
        results = await asyncio.gather(*(opened.generate(prompt, GREEDY) for prompt in prompts))
        text = [piece.text async for piece in opened.stream("the quick", GREEDY)]
        assert "".join(text) == (await opened.generate("the quick", GREEDY)).text
        return [result.token_ids for result in results]

    assert in_threads(4, ask) == [expected] * 4


def test_a_loop_that_is_closed_leaves_nothing(endless: Generator) -> None:
    opened = AsyncGenerator(endless)
    kept: list[AsyncStream] = []
    asyncio.run(opened.generate([5], LONG, max_tokens=2))
    before = descriptors()

    async def leave() -> None:
        kept.append(opened.stream([5, 6], LONG))
        await anext(kept[-1])

    for _ in range(3):
        asyncio.run(opened.generate([5], LONG, max_tokens=2))
    assert descriptors() == before
    for _ in range(5):
        asyncio.run(leave())
    assert len(asyncio.run(opened.generate([5], LONG, max_tokens=2)).token_ids) == 2
    kept.clear()
    while endless.stats()["running"] > 0:
        pass
    assert descriptors() == before


def test_closing_in_one_loop_ends_what_runs_in_others(endless: Generator) -> None:
    opened = AsyncGenerator(endless)
    running = threading.Barrier(2)

    async def run(index: int) -> object:
        if index == 0:
            await asyncio.to_thread(running.wait, PATIENCE)
            await opened.close()
            return endless.stats()["running"]
        stream = opened.stream([5, 6], LONG)
        await anext(stream)
        await asyncio.to_thread(running.wait, PATIENCE)
        return len([piece async for piece in stream])

    closed, pieces = in_threads(2, run)
    assert closed == 0
    assert isinstance(pieces, int)


# Tokenising.


async def test_texts_and_chats_are_tokenised_off_the_loop(gated: tuple[Generator, GatedTokenizer]) -> None:
    generator, tokenizer = gated
    messages = [{"role": "user", "content": "Hello!"}]
    expected = [generator.generate("the", GREEDY).text, generator.chat(messages, GREEDY).text]
    tokenizer.threads.clear()
    async with AsyncGenerator(generator) as opened:
        assert (await opened.generate("the", GREEDY)).text == expected[0]
        assert "".join([piece.text async for piece in opened.stream("the", GREEDY)]) == expected[0]
        assert (await opened.chat(messages, GREEDY)).text == expected[1]
        assert "".join([piece.text async for piece in opened.chat_stream(messages, GREEDY)]) == expected[1]
    assert len(tokenizer.threads) == 4
    assert threading.get_ident() not in tokenizer.threads


async def test_the_loop_goes_on_while_a_text_is_tokenised(gated: tuple[Generator, GatedTokenizer]) -> None:
    generator, tokenizer = gated
    async with AsyncGenerator(generator) as opened:
        tokenizer.gate.clear()
        task = asyncio.create_task(opened.generate("the", GREEDY))
        while not tokenizer.entered.is_set():
            await asyncio.sleep(0.001)
        assert not task.done()
        tokenizer.gate.set()  # by the loop, which is free to do it
        assert len((await task).token_ids) == 40


async def test_requests_keep_their_order_though_some_are_tokenised(gated: tuple[Generator, GatedTokenizer]) -> None:
    generator, tokenizer = gated
    async with AsyncGenerator(generator) as opened:
        tokenizer.gate.clear()
        prompts: list[Any] = ["the quick", [5, 6], "the", [7]]
        streams = [opened.stream(prompt, GREEDY) for prompt in prompts]
        assert generator.stats()["requests"] == 0, "ids do not overtake a text"
        tokenizer.gate.set()
        for stream in streams:
            await stream.result()
        handles = [stream._request._handle for stream in streams]
        ids = [handle.id for handle in handles if handle is not None]
        assert ids == [1, 2, 3, 4]


@pytest.mark.parametrize("how", ["task", "cancel", "drop", "aclose", "close"])
async def test_cancelling_while_tokenising_starts_nothing(gated: tuple[Generator, GatedTokenizer], how: str) -> None:
    generator, tokenizer = gated
    opened = AsyncGenerator(generator)
    tokenizer.gate.clear()
    if how == "task":
        task = asyncio.create_task(opened.generate("the", GREEDY))
        await asyncio.to_thread(tokenizer.entered.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
    else:
        stream = opened.stream("the", GREEDY)
        await asyncio.to_thread(tokenizer.entered.wait, PATIENCE)
        if how == "cancel":
            stream.cancel()
        elif how == "aclose":
            asyncio.get_running_loop().call_later(0.01, tokenizer.gate.set)
            await stream.aclose()
            with pytest.raises(CancelledError):
                await stream.result()
        elif how == "close":
            asyncio.get_running_loop().call_later(0.01, tokenizer.gate.set)
            await opened.close()
        del stream
    gc.collect()
    tokenizer.gate.set()
    await opened.close()
    assert generator.stats()["requests"] == 0
    assert opened._mailboxes == {}


async def test_a_conversation_may_go_on_while_it_is_rendered(gated: tuple[Generator, GatedTokenizer]) -> None:
    generator, tokenizer = gated
    messages = [{"role": "user", "content": "Hello!"}]
    expected = generator.chat(messages, GREEDY).text
    async with AsyncGenerator(generator) as opened:
        tokenizer.gate.clear()
        before = opened.stream("the", GREEDY)
        stream = opened.chat_stream(messages, GREEDY)
        messages[0]["content"] = "Something else"
        messages.append({"role": "tool", "content": "no such role"})
        tokenizer.gate.set()
        assert (await stream.result()).text == expected
        await before.wait()


def test_a_long_text_is_encoded_without_the_gil(generator: Generator) -> None:
    tokenizer = generator.tokenizer
    assert tokenizer is not None
    text = "the quick brown fox " * 20_000
    ids: list[int] = []
    thread = threading.Thread(target=lambda: ids.extend(tokenizer.encode(text)))
    turns = 0
    thread.start()
    while thread.is_alive():
        turns += 1
        thread.join(0.0005)
    assert turns > 10, "this thread did not get a turn while the other one encoded"
    assert ids == tokenizer.encode("the quick brown fox ") * 20_000 or tokenizer.decode(ids) == text


# Errors.


async def test_a_full_queue_is_told_at_once(single: Generator) -> None:
    async with AsyncGenerator(single) as opened:
        running = opened.stream([5], LONG)
        await anext(running)
        waiting = [opened.stream([6], LONG) for _ in range(2)]
        with pytest.raises(BusyError):
            opened.stream([7], LONG)
        with pytest.raises(BusyError):
            await opened.generate([7], LONG)
        with pytest.raises(BusyError):
            await opened.generate("the", LONG)
        with pytest.raises(BusyError):
            async with opened.stream("the", LONG):
                pass
        with pytest.raises(BusyError):
            await anext(opened.stream("the", LONG))
        assert single.stats()["queued"] == len(waiting)


async def test_what_is_wrong_whatever_the_text_is_refused_by_the_call(generator: Generator) -> None:
    messages = [{"role": "user", "content": "Hello!"}]
    async with AsyncGenerator(generator) as opened:
        for options in ({"max_tokens": 10**6}, {"priority": 1.5}, {"deadline": -1}, {"logprobs": 1000}, {"nope": 1}):
            with pytest.raises(InvalidArgumentError):
                opened.stream("the", **options)
            with pytest.raises(InvalidArgumentError):
                opened.chat_stream(messages, **options)
        with pytest.raises(InvalidArgumentError, match="a stream takes one prompt, but this is a list of 2"):
            opened.stream(["the", "quick"])  # type: ignore[list-item]
        with pytest.raises(InvalidArgumentError, match="600"):
            opened.stream([600], LONG)
        await asyncio.sleep(0)
        assert opened._mailboxes == {}


async def test_what_the_text_shows_is_raised_by_what_is_awaited_first(generator: Generator) -> None:
    async with AsyncGenerator(generator) as opened:
        for text, message in (("", "is empty"), ("the " * 3000, "max_length is"), ("\ud800", "lone surrogate")):
            with pytest.raises(InvalidArgumentError, match=message):
                await opened.generate(text)
            with pytest.raises(InvalidArgumentError, match=message):
                await anext(opened.stream(text))
            with pytest.raises(InvalidArgumentError, match=message):
                await opened.stream(text).result()
            with pytest.raises(InvalidArgumentError, match=message):
                async with opened.stream(text):
                    pass
            await opened.stream(text).wait()
        assert opened._mailboxes == {}


async def test_a_closed_generator_says_so_at_once(tiny_bundle: Path) -> None:
    opened = AsyncGenerator(tiny_bundle, backend="native")
    await opened.close()
    for prompt in ("the", [5]):
        with pytest.raises(ClosedError):
            opened.stream(prompt)


# Work.


class WakeupCounter:
    """Counts a loop's wake-ups for descriptors, and the calls of functions of skywork_rt.api in them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wakeups = 0
        self.calls = 0
        self._folder = str(Path(skywork_rt.api.__file__).parent)
        add_reader = loop.add_reader
        monkeypatch.setattr(loop, "add_reader", lambda fd, callback: add_reader(fd, self._run, callback))

    def _run(self, callback: Callable[[], None]) -> None:
        self.wakeups += 1
        sys.setprofile(self._note)
        try:
            callback()
        finally:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(self._folder):
            self.calls += 1


async def test_a_wakeup_works_in_proportion_to_what_came(endless_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = WakeupCounter(asyncio.get_running_loop(), monkeypatch)
    with Generator(endless_bundle, backend="native", max_batch=1, max_queue=1000) as generator:
        async with AsyncGenerator(generator) as opened:
            stream = opened.stream([5], LONG)
            waiting = [opened.stream([6], LONG) for _ in range(300)]
            await anext(stream)
            counter.wakeups = counter.calls = 0
            while counter.wakeups < 50:
                await anext(stream)
            assert len(waiting) == 300
            assert counter.calls / counter.wakeups < 10, "of one stream that has news, beside 300 that have none"


async def test_dropped_streams_leave_the_mailbox(endless_bundle: Path) -> None:
    with Generator(endless_bundle, backend="native", max_batch=1, max_queue=1000) as generator:
        opened = AsyncGenerator(generator)
        streams: Sequence[AsyncStream] = [opened.stream([5, 6], LONG) for _ in range(50)]
        (mailbox,) = opened._mailboxes.values()
        assert len(mailbox.listeners) == 50
        del streams
        gc.collect()
        assert mailbox.listeners == []
        assert mailbox.core.take() == []
        await asyncio.sleep(0)
        assert opened._mailboxes == {}, "it has left the loop"
        await opened.close()
        assert len((await opened.generate([5], LONG, max_tokens=2)).token_ids) == 2
        assert generator.stats()["cancelled"] == 50


async def test_a_prompt_that_was_made_ahead_is_what_is_run(generator: Generator) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    async with AsyncGenerator(generator) as asynchronous:
        for prompt, wanted in (
            (generator.prompt("the quick"), generator.generate("the quick", GREEDY)),
            (generator.chat_prompt(messages), generator.chat(messages, GREEDY)),
        ):
            result = await asynchronous.stream(prompt, GREEDY).result()
            assert result.prompt_token_ids == prompt.ids.tolist()
            assert result.text == wanted.text
    assert generator.prompt("the", add_special_tokens=False).ids.tolist() == generator.encode(
        "the", add_special_tokens=False
    )
    with pytest.raises(InvalidArgumentError, match="is empty"):
        generator.prompt("", add_special_tokens=False)
