"""What the engine has to tell one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from skywork_rt import _core

__all__ = ["Listener", "LoopMailbox"]


class Listener(Protocol):
    """A request as its loop's mailbox knows it."""

    def hear(self, ended: bool) -> bool:
        """There is news, the last if `ended`. Returns whether it wants to hear no more."""
        ...

    def cancel(self) -> None:
        """Ends it; from any thread."""
        ...

    def join(self) -> None:
        """Waits for its end; from any thread."""
        ...


class LoopMailbox:
    """The requests of one event loop by key, and the mailbox in which the engine's thread notes the keys of those that
    have news. It wakes the loop up, which then looks at those and at no others.

    The loop watches it only while it has requests: with the last one it leaves the loop, and what made it lets go of
    it (`on_idle`), so that nothing is left in a loop that ends. `forget` may be called from any thread, and by the
    garbage collector; the other methods by the loop's thread alone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_idle: Callable[[], object]) -> None:
        self.core = _core.Mailbox()
        self._loop = loop
        self._on_idle = on_idle
        self._listeners: dict[int, Listener] = {}
        self._watched = True
        loop.add_reader(self.core.fileno(), self.deliver)

    def open(self, listener: Listener) -> int:
        """The key under which a request shall be submitted."""
        key = self.core.open()
        self._listeners[key] = listener
        return key

    @property
    def listeners(self) -> list[Listener]:
        """All that have not heard their end; from any thread."""
        return list(self._listeners.values())

    def deliver(self) -> None:
        """Tells the requests that have news."""
        for key, ended in self.core.take():
            listener = self._listeners.get(key)
            if listener is not None and listener.hear(ended):
                self._drop(key)
        self._leave_if_idle()

    def forget(self, key: int) -> None:
        """Nobody wants to hear of this request any more."""
        self._drop(key)
        try:
            self._loop.call_soon_threadsafe(self._leave_if_idle)
        except RuntimeError:  # the loop is closed, and watches nothing any more
            self._let_go_if_idle()

    def _drop(self, key: int) -> None:
        self.core.close(key)
        self._listeners.pop(key, None)

    def _leave_if_idle(self) -> None:
        if self._watched and not self._listeners:
            self._loop.remove_reader(self.core.fileno())
            self._let_go_if_idle()

    def _let_go_if_idle(self) -> None:
        if self._watched and not self._listeners:
            self._watched = False  # there may be another one for this loop from now on
            self._on_idle()
