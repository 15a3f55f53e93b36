"""The asynchronous API, for servers: many requests in one event loop, no thread a request."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from skywork_rt import _core
from skywork_rt.api.generator import Generator
from skywork_rt.api.options import GeneratorOptions, with_options_documented
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt, PromptInput
from skywork_rt.api.requests import finish, submit, to_piece
from skywork_rt.api.results import Piece, RequestOutput
from skywork_rt.errors import CancelledError, InvalidArgumentError
from skywork_rt.text.chat_template import Message

__all__ = ["AsyncGenerator", "AsyncStream"]


@with_options_documented
class AsyncGenerator:
    """`Generator` for asyncio. Made from the same arguments, or from a `Generator` that is already open.

        async with AsyncGenerator("bundle") as generator:
            async for piece in generator.stream("Once upon a time"):
                print(piece.text, end="")

    Use one object from one event loop. The engine's thread never waits for Python: it puts updates into a mailbox and
    makes a file descriptor readable, which wakes the loop up.
    """

    def __init__(self, bundle: str | os.PathLike[str] | Generator, **options: Unpack[GeneratorOptions]) -> None:
        if isinstance(bundle, Generator) and options:
            raise InvalidArgumentError("options belong to opening a bundle, but an open Generator was given")
        self._generator = bundle if isinstance(bundle, Generator) else Generator(bundle, **options)
        self._owned = not isinstance(bundle, Generator)
        self._wakeup = _core.Wakeup()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._active: weakref.WeakSet[AsyncStream] = weakref.WeakSet()

    @property
    def generator(self) -> Generator:
        """The synchronous one below: model, tokenizer, options, encode, decode, score."""
        return self._generator

    def stats(self) -> dict[str, Any]:
        """As `Generator.stats`."""
        return self._generator.stats()

    def stream(self, prompt: PromptInput, params: SamplingParams | None = None, **options: Any) -> AsyncStream:
        """Pieces as they come; as `Generator.stream`. Leaving the loop or cancelling the task cancels the request."""
        return self._start(self._generator._parse_one(prompt), params, options)

    async def generate(
        self, prompt: PromptInput, params: SamplingParams | None = None, **options: Any
    ) -> RequestOutput:
        """The finished result of one prompt; gather several to have them share steps."""
        stream = self.stream(prompt, params, **options)
        async with stream:
            return await stream.result()

    def chat_stream(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        template_args: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncStream:
        """`stream` of the next message, through the model's own template; arguments as in `Generator.chat`."""
        prompt = self._generator._chat_prompt(messages, tools=tools, documents=documents, template_args=template_args)
        return self._start(prompt, params, options)

    async def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        template_args: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> RequestOutput:
        """`generate` of the next message, through the model's own template; arguments as in `Generator.chat`."""
        stream = self.chat_stream(
            messages, params, tools=tools, documents=documents, template_args=template_args, **options
        )
        async with stream:
            return await stream.result()

    async def close(self, *, finish: bool = False) -> None:
        """Cancels (or, with `finish`, waits for) what runs. An open Generator that was given stays open."""
        if finish:
            await asyncio.gather(*(stream.wait() for stream in list(self._active)))
        for stream in list(self._active):
            stream.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self._wakeup.fileno())
            self._loop = None
        if self._owned:
            await asyncio.to_thread(self._generator.close, finish=finish)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _start(self, prompt: Prompt, params: SamplingParams | None, options: dict[str, Any]) -> AsyncStream:
        chosen, terms = self._generator._prepare_one(prompt, params, options)
        loop = asyncio.get_running_loop()
        if self._loop is None:
            loop.add_reader(self._wakeup.fileno(), self._deliver)
            self._loop = loop
        elif self._loop is not loop:
            raise InvalidArgumentError("this AsyncGenerator belongs to another event loop; make one for each loop")
        mailbox = _core.Mailbox(self._wakeup)
        handle = submit(self._generator._core, prompt, chosen, terms, mailbox)
        stream = AsyncStream(self._active, handle, mailbox, prompt, chosen)
        self._active.add(stream)
        return stream

    def _deliver(self) -> None:
        self._wakeup.clear()
        for stream in list(self._active):
            stream.look()


class AsyncStream(AsyncIterator[Piece]):
    """One running request; iterate it, or await `result()`. As an async context manager it cancels on leaving."""

    def __init__(
        self,
        active: weakref.WeakSet[AsyncStream],
        handle: _core.RequestHandle,
        mailbox: _core.Mailbox,
        prompt: Prompt,
        params: SamplingParams,
    ) -> None:
        self._active = active
        self._handle = handle
        self._mailbox = mailbox
        self._prompt = prompt
        self._params = params
        self._pieces: list[Piece] = []
        self._news = asyncio.Event()
        self._running = params.n
        self._over = False
        self._cancelled = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        try:
            while not self._pieces:
                if self._over:
                    if not self._cancelled:
                        self._handle.result()  # raises if the request failed
                    raise StopAsyncIteration
                await self._wait_for_news()
        except (asyncio.CancelledError, GeneratorExit):
            self.cancel()
            raise
        return self._pieces.pop(0)

    async def result(self) -> RequestOutput:
        """The whole result; raises the request's error if it failed or was cancelled."""
        await self.wait()
        if self._cancelled:
            raise CancelledError("the request was cancelled before it ended")
        return finish(self._handle, self._prompt, self._params)

    async def wait(self) -> None:
        """Waits for the end, good or bad."""
        try:
            while not self._over:
                await self._wait_for_news()
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Ends the request at the engine's next step. Any number of times."""
        if not self._over:
            self._cancelled = True
            self._handle.cancel()
            self._mailbox.close()
            self._end()

    aclose = cancel

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __del__(self) -> None:
        if hasattr(self, "_over") and not self._over:
            self._handle.cancel()

    def look(self) -> None:
        """Takes what is in the mailbox; called by the loop when something came."""
        updates = self._mailbox.drain()
        for update in updates:
            if update.finish_reason != "error":
                self._pieces.append(to_piece(update, self._params.logprobs is not None))
        finished = [update.finish_reason for update in updates if update.finish_reason is not None]
        self._running -= len(finished)
        if self._running <= 0 or "error" in finished:
            self._handle.wait()  # the engine ends a request right after its last update: microseconds
            self._end()
        if updates:
            self._news.set()

    def _end(self) -> None:
        self._over = True
        self._active.discard(self)
        self._news.set()

    async def _wait_for_news(self) -> None:
        self._news.clear()
        self.look()
        if not self._over:
            await self._news.wait()
