"""Ctrl-C, SIGTERM and a closed terminal: the step that runs is finished and its state is saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from skywork_rt.support.stop_signals import let_go_of_terminal, stop_signals

__all__ = ["StopRequest"]


class StopRequest:
    """While its context is open, the first signal sets `signal`; a second one interrupts as usual.

    While MindSpore runs a graph it takes Ctrl-C itself and sends this process SIGTERM, so that `signal` may be SIGTERM
    where the user pressed Ctrl-C.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self.listen()
        return self

    def listen(self) -> None:
        """Takes the signals, again where MindSpore has taken them since."""
        if self.signal is not None or threading.current_thread() is not threading.main_thread():
            return
        for number in stop_signals():
            before = signal.signal(number, self._asked)
            self._before.setdefault(number, before)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = number
        let_go_of_terminal(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}
