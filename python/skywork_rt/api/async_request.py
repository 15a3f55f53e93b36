"""One request of an event loop, from its prompt to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from skywork_rt import _core
from skywork_rt.api.loop_mailbox import LoopMailbox
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt
from skywork_rt.api.requests import finish
from skywork_rt.api.results import RequestOutput
from skywork_rt.errors import CancelledError

__all__ = ["AsyncRequest", "Prepared"]

Prepared = Callable[[], tuple[Prompt, _core.Request]]
"""Makes what is submitted; tokenises, and so takes a while."""


class AsyncRequest:
    """One request of an event loop: not submitted yet, queued or running, or over.

    `submit`, `submit_later`, `cancel` and `join` may be called from any thread: there is one that tokenises, and loops
    may close what runs in others. What they find out comes to the loop through its mailbox, as the engine's news do.
    """

    def __init__(self, mailbox: LoopMailbox, core: _core.Generator) -> None:
        self._mailbox = mailbox
        self._core = core
        self._news = asyncio.Event()
        self._cancelled = False
        self._ended = False
        self._prompt: Prompt | None = None
        self._handle: _core.RequestHandle | None = None
        self._error: BaseException | None = None
        self._key = mailbox.open(self)

    # From any thread.

    def submit(self, prepare: Prepared) -> None:
        """Queues the request, unless it was cancelled before. Raises what refuses it."""
        self._refuse_cancelled()
        self._prompt, request = prepare()
        self._refuse_cancelled()
        # There is no lock: whichever of this and `cancel` comes second sees what the first one did.
        self._handle = self._core.submit(request, self._mailbox.core, self._key)
        if self._cancelled:
            self._handle.cancel()

    def submit_later(self, prepare: Prepared) -> None:
        """The same on a thread that is not the loop's; what refuses it is raised by whoever awaits the request."""
        try:
            self.submit(prepare)
        except BaseException as error:  # whatever it is: somebody waits for the end
            self._error = error
        self._mailbox.core.post(self._key, self._error is not None)

    def cancel(self) -> None:
        """Ends it at the engine's next step, or before it is submitted. Any number of times."""
        if self.over:
            return
        self._cancelled = True
        if self._handle is not None:
            self._handle.cancel()

    def abandon(self) -> None:
        """Cancels it, and nobody wants to hear of the end."""
        if not self.over:
            self.cancel()
            self._mailbox.forget(self._key)

    def join(self) -> None:
        """Waits until the engine is done with it. Only when it has been submitted or refused."""
        if self._handle is not None:
            self._handle.wait()

    # On the loop's.

    @property
    def submitted(self) -> bool:
        """Whether it was submitted or refused."""
        return self._handle is not None or self._error is not None

    @property
    def over(self) -> bool:
        """Whether the end has been heard of: nothing of it runs, and nothing is to be waited for."""
        return self._ended and self.submitted

    def hear(self, ended: bool) -> bool:
        self._ended |= ended  # may come before `submit` has noted the handle, and then comes again
        self._news.set()
        return self.over

    async def news(self) -> None:
        """Waits for what comes from now on: look first."""
        self._news.clear()
        await self._news.wait()

    def take(self) -> _core.Update | Literal[False] | None:
        """What came since the last call; False when nothing did, None after the end, where it raises what it failed
        with unless it was cancelled here."""
        if self._cancelled:
            return None
        self.raise_if_refused()
        if self._handle is None:
            return False
        update = self._handle.take()
        if update is None:
            self._handle.result()
        return update

    def result(self, params: SamplingParams) -> RequestOutput:
        """What it gave, when it is over; raises what it failed with."""
        self.raise_if_refused()
        assert self._handle is not None and self._prompt is not None, "it is over and was not refused"
        return finish(self._handle, self._prompt, params)

    def raise_if_refused(self) -> None:
        """Raises what submitting it raised."""
        if self._error is not None:
            raise self._error

    def _refuse_cancelled(self) -> None:
        if self._cancelled:
            raise CancelledError("the request was cancelled before it was submitted")
