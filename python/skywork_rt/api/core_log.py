"""What the C++ core has to say goes to Python's logging, to the logger "skywork_rt".

The core puts its messages into a queue and never waits for the GIL; a thread of Python's takes them out.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading

from skywork_rt import _core

__all__ = ["forward_core_log"]

_log = logging.getLogger("skywork_rt")
_SECONDS_TO_END = 5.0


class _Forwarder:
    """One for the process, while there is a thread that does the work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: _core.LogQueue | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._queue = _core.LogQueue()
            self._thread = threading.Thread(target=_take_all, args=(self._queue,), name="skywork_rt log", daemon=True)
            self._thread.start()
            _core.forward_log(self._queue)

    def stop(self) -> None:
        """Before the interpreter ends: a thread that wants the GIL after that is ended by force."""
        with self._lock:
            if self._queue is None or self._thread is None:
                return
            _core.forward_log(None)
            self._queue.close()
            self._thread.join(_SECONDS_TO_END)

    def forget(self) -> None:
        """In a child of fork(), which has not the thread, and where any lock may be locked for ever."""
        self._lock = threading.Lock()
        self._queue = None
        self._thread = None


def _take_all(queue: _core.LogQueue) -> None:
    while (entry := queue.take()) is not None:
        level, message = entry
        _log.log(level, "%s", message)


_forwarder = _Forwarder()
atexit.register(_forwarder.stop)
os.register_at_fork(after_in_child=_forwarder.forget)


def forward_core_log() -> None:
    """From now on, once for the process."""
    _forwarder.start()
