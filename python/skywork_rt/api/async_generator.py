"""The asynchronous API, for servers: many requests in one event loop, no thread a request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

import numpy as np

from skywork_rt import _core
from skywork_rt.api.async_request import AsyncRequest
from skywork_rt.api.async_stream import AsyncStream
from skywork_rt.api.generator import Generator
from skywork_rt.api.loop_mailbox import Listener, LoopMailbox
from skywork_rt.api.options import GeneratorOptions, with_options_documented
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt, PromptInput
from skywork_rt.api.requests import Terms, to_request
from skywork_rt.api.results import RequestOutput
from skywork_rt.api.submission_thread import SubmissionThread
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.grammar.desk import GrammarDesk
from skywork_rt.text.chat_template import Message

__all__ = ["AsyncGenerator", "AsyncStream"]


@with_options_documented
class AsyncGenerator:
    """`Generator` for asyncio. Made from the same arguments, or from a `Generator` that is already open.

        async with AsyncGenerator("bundle") as generator:
            async for piece in generator.stream("Once upon a time"):
                print(piece.text, end="")

    One object serves any number of event loops, in threads of their own; a stream belongs to the loop in which it was
    made. The engine's thread never waits for Python: it notes in the loop's mailbox which requests have news, and makes
    a file descriptor readable, which wakes the loop up.

    Texts are tokenised, and chats rendered, by a thread of this object, while other coroutines go on; requests are
    queued in the order of the calls, prompts of ids too. Arguments that are wrong whatever the text is are refused by
    the call itself, as is a prompt of ids that cannot run, or finds the queue full with no text before it; what shows
    only when a text or chat has been tokenised is raised by what is awaited first.
    """

    def __init__(self, bundle: str | os.PathLike[str] | Generator | None, **options: Unpack[GeneratorOptions]) -> None:
        if isinstance(bundle, Generator) and options:
            raise InvalidArgumentError("options belong to opening a bundle, but an open Generator was given")
        self._generator = bundle if isinstance(bundle, Generator) else Generator(bundle, **options)
        self._owned = not isinstance(bundle, Generator)
        self._mailboxes: dict[asyncio.AbstractEventLoop, LoopMailbox] = {}
        self._submissions = SubmissionThread()

    @property
    def generator(self) -> Generator:
        """The synchronous one below: model, tokenizer, options, encode, decode, score."""
        return self._generator

    def stats(self) -> dict[str, Any]:
        """As `Generator.stats`."""
        return self._generator.stats()

    def stream(self, prompt: PromptInput | Prompt, params: SamplingParams | None = None, **options: Any) -> AsyncStream:
        """Pieces as they come; as `Generator.stream`. Leaving the loop or cancelling the task cancels the request.

        The request is on its way when this returns, awaited or not. `prompt` may also be what `Generator.prompt` or
        `Generator.chat_prompt` has made, for those who look at the ids first.
        """
        call = self._call(params, options)
        if isinstance(prompt, Prompt):
            return self._start_parsed(call, prompt)
        if isinstance(prompt, str):
            return self._start(call, partial(self._generator._parse_one, prompt))
        return self._start_parsed(call, self._generator._parse_one(prompt))

    async def generate(
        self, prompt: PromptInput, params: SamplingParams | None = None, **options: Any
    ) -> RequestOutput:
        """The finished result of one prompt; gather several to have them share steps."""
        return await _finished(self.stream(prompt, params, **options))

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
        """`stream` of the next message, through the model's own template; arguments as in `Generator.chat`. They are
        copied, so that the conversation may go on meanwhile."""
        call = self._call(params, options)
        said, tools, documents, template_args = deepcopy((messages, tools, documents, template_args))
        make_prompt = partial(
            self._generator._chat_prompt, said, tools=tools, documents=documents, template_args=template_args
        )
        return self._start(call, make_prompt)

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
        return await _finished(stream)

    async def close(self, *, finish: bool = False) -> None:
        """Cancels (or, with `finish`, waits for) what runs, in every loop, and returns when nothing of it does. An open
        Generator that was given stays open."""
        requests = [request for mailbox in list(self._mailboxes.values()) for request in mailbox.listeners]
        try:
            if not finish:
                _cancel(requests)
            await asyncio.to_thread(self._wait_for, requests)
        except BaseException:  # the task is cancelled
            _cancel(requests)
            raise
        mailbox = self._mailboxes.get(asyncio.get_running_loop())
        if mailbox is not None:
            mailbox.deliver()  # so that it leaves this loop now
        if self._owned:
            await asyncio.to_thread(self._generator.close, finish=finish)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _call(self, params: SamplingParams | None, options: dict[str, Any]) -> _Call:
        return _Call(self._generator._core, self._generator._grammars, *self._generator._prepare_one(params, options))

    def _start(self, call: _Call, make_prompt: Callable[[], Prompt]) -> AsyncStream:
        """Has the prompt made on the thread for that, and submitted in its turn."""
        call.check()
        return self._submit_later(call, make_prompt)

    def _start_parsed(self, call: _Call, prompt: Prompt) -> AsyncStream:
        """Submits a prompt that is there already, at once if none before it is still being made."""
        if self._submissions.idle:
            return self._launch(call, lambda request: request.submit(lambda: (prompt, call.request(prompt))))
        self._generator._core.check(call.request(prompt))
        return self._submit_later(call, lambda: prompt)

    def _submit_later(self, call: _Call, make_prompt: Callable[[], Prompt]) -> AsyncStream:
        def prepare() -> tuple[Prompt, _core.Request]:
            prompt = make_prompt()
            return prompt, call.request(prompt)

        return self._launch(call, lambda request: self._submissions.run(partial(request.submit_later, prepare)))

    def _launch(self, call: _Call, start: Callable[[AsyncRequest], None]) -> AsyncStream:
        request = AsyncRequest(self._mailbox(), self._generator._core)
        try:
            start(request)
        except BaseException:
            request.abandon()
            raise
        return AsyncStream(request, call.params)

    def _mailbox(self) -> LoopMailbox:
        loop = asyncio.get_running_loop()
        mailbox = self._mailboxes.get(loop)
        if mailbox is None:
            self._leave_closed_loops()
            mailbox = LoopMailbox(loop, partial(self._mailboxes.pop, loop, None))
            self._mailboxes[loop] = mailbox
        return mailbox

    def _leave_closed_loops(self) -> None:
        """What runs for a loop that has been closed will never be heard of."""
        for loop, mailbox in list(self._mailboxes.items()):
            if loop.is_closed():
                self._mailboxes.pop(loop, None)
                _cancel(mailbox.listeners)

    def _wait_for(self, requests: Sequence[Listener]) -> None:
        self._submissions.close()
        for request in requests:
            request.join()


@dataclass(frozen=True)
class _Call:
    """What is asked of one prompt."""

    core: _core.Generator
    grammars: GrammarDesk
    params: SamplingParams
    terms: Terms

    def check(self) -> None:
        """Raises what is wrong whatever the prompt is."""
        self.core.check(self.request(Prompt(None, np.zeros(1, dtype=np.int64))))

    def request(self, prompt: Prompt) -> _core.Request:
        return to_request(self.core, self.grammars, prompt, self.params, self.terms)


async def _finished(stream: AsyncStream) -> RequestOutput:
    try:
        return await stream.result()
    finally:
        stream.cancel()


def _cancel(requests: Sequence[Listener]) -> None:
    for request in requests:
        request.cancel()
