"""One running request in an event loop, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from skywork_rt.api.async_request import AsyncRequest
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.requests import to_piece
from skywork_rt.api.results import Piece, RequestOutput

__all__ = ["AsyncStream"]


class AsyncStream(AsyncIterator[Piece]):
    """One running request: iterate it, or await `result()`. It belongs to the event loop in which it was made.

    Leaving the loop over it, cancelling the task that waits for it, `cancel()`, `aclose()`, the end of an `async with`
    block and dropping it cancel what is not finished. Who is slow gets longer pieces: what was not taken yet is one
    piece of each sample. What shows only when the prompt has been tokenised (a text that is too long, a full queue)
    is raised by what is awaited first: entering `async with`, the first piece or `result()`.
    """

    def __init__(self, request: AsyncRequest, params: SamplingParams) -> None:
        self._request = request
        self._params = params

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        while (update := self._request.take()) is False:
            await self._news()
        if update is None:
            raise StopAsyncIteration
        return to_piece(update, self._params.reports_logprobs)

    async def result(self) -> RequestOutput:
        """The whole result; raises the request's error if it failed or was cancelled."""
        await self.wait()
        return self._request.result(self._params)

    async def wait(self) -> None:
        """Waits for the end, good or bad."""
        while not self._request.over:
            await self._news()

    def cancel(self) -> None:
        """Ends the request at the engine's next step, or before it is submitted. Any number of times, from any thread.
        There are no more pieces; `result()` raises CancelledError unless the end came first."""
        self._request.cancel()

    async def aclose(self) -> None:
        """Cancels, and waits for the end: when it returns, nothing of the request runs or is queued, its place in the
        batch and its cache are free (or kept for prefix reuse, which makes room when it is needed), and `stats()` has
        counted it. That takes the rest of the engine's running step; of a prompt that is being tokenised, the rest of
        that."""
        self._request.cancel()
        while not self._request.over:
            await self._request.news()

    async def __aenter__(self) -> Self:
        """Waits until the request is queued; raises what refuses it."""
        while not self._request.submitted:
            await self._news()
        self._request.raise_if_refused()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_params"):
            self._request.abandon()

    async def _news(self) -> None:
        try:
            await self._request.news()
        except BaseException:  # the task is cancelled, or dropped
            self.cancel()
            raise
