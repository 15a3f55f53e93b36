"""A thread that does what would hold an event loop up, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["SubmissionThread"]


class SubmissionThread:
    """Runs one job after the other, in the order in which they came. The thread lives from the first job to `close`,
    after which another one may begin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unfinished = 0
        self._executor: ThreadPoolExecutor | None = None

    @property
    def idle(self) -> bool:
        """Whether every job is done, so that what is done now comes after all of them."""
        return self._unfinished == 0

    def run(self, job: Callable[[], None]) -> None:
        """Queues a job, which must not raise."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="skywork_rt prompts")
            self._executor.submit(self._run, job)
            self._unfinished += 1

    def close(self) -> None:
        """Waits for all jobs that were queued before."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            with self._lock:
                self._unfinished -= 1
