"""Running the prompts of one request: all of them together, whole or piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from skywork_rt.api.async_stream import AsyncStream
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt
from skywork_rt.api.results import Piece, RequestOutput
from skywork_rt.server.models import Model

__all__ = ["Work"]


@dataclass
class Work:
    """The prompts of one request, and what is asked of each. Made in the task that awaits its end: when that task is
    cancelled, all of it leaves the engine at its next step."""

    model: Model
    prompts: Sequence[Prompt]
    params: SamplingParams
    terms: dict[str, Any]
    """Beside sampling: priority, deadline, cache_salt."""
    observe: Callable[[RequestOutput], None]
    """Told of every prompt that has finished."""
    _streams: list[AsyncStream] = field(default_factory=list)

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt.ids) for prompt in self.prompts)

    async def start(self) -> None:
        """Queues all prompts, or none. Raises what refuses one, and what is wrong with the grammar."""
        try:
            await self._compiled()
            for prompt in self.prompts:
                self._streams.append(self.model.engine.stream(prompt, self.params, **self.terms))
            for stream in self._streams:
                await stream.__aenter__()
        except BaseException:
            await self.stop()
            raise

    async def _compiled(self) -> None:
        """Waits for the grammar, so that one that is wrong is told before a stream has begun."""
        grammar, pause = self.params.grammar, 0.001
        while grammar is not None and not self.model.generator.compile_grammar(grammar):
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)

    async def results(self) -> list[RequestOutput]:
        """All results, in order. Raises the first error, which ends the others."""
        try:
            return [await self._result(stream) for stream in self._streams]
        finally:
            await self.stop()

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Pieces as they come, with the index of their prompt."""
        if len(self._streams) == 1:
            async for piece in self._streams[0]:
                yield 0, piece
            return
        queue: asyncio.Queue[tuple[int, Piece] | None] = asyncio.Queue()
        feeders = [asyncio.create_task(_feed(queue, i, stream)) for i, stream in enumerate(self._streams)]
        try:
            left = len(feeders)
            while left:
                item = await queue.get()
                if item is None:
                    left -= 1
                else:
                    yield item
            for feeder in feeders:
                await feeder
        finally:
            for feeder in feeders:
                feeder.cancel()

    async def stop(self) -> None:
        """Ends what still runs; when this returns nothing of it does."""
        for stream in self._streams:
            stream.cancel()
        for stream in self._streams:
            await stream.aclose()

    async def _result(self, stream: AsyncStream) -> RequestOutput:
        result = await stream.result()
        self.observe(result)
        return result


async def _feed(queue: asyncio.Queue[tuple[int, Piece] | None], index: int, stream: AsyncStream) -> None:
    try:
        async for piece in stream:
            await queue.put((index, piece))
    finally:
        queue.put_nowait(None)
