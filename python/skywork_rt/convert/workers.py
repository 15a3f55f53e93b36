"""Several processes that write one output: each runs `python -m skywork_rt.convert.worker`.

A child ends when its parent does (its standard input closes then), and the parent ends the others when one fails.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from skywork_rt.convert.partial import PartialOutput
from skywork_rt.convert.plan import Unit
from skywork_rt.errors import CapacityError, InternalError, class_of

__all__ = ["Share", "run_workers"]


@dataclass(frozen=True)
class Share:
    """The tensors that one process writes; `number` is that of its journal."""

    number: int
    units: list[Unit]


def run_workers(
    request: dict[str, Any], shares: Sequence[Share], partial: PartialOutput, report: Callable[[int], None]
) -> int:
    """Has all shares written and returns the largest peak of memory. Raises the error of the first that fails."""
    messages: queue.SimpleQueue[tuple[int, dict[str, Any] | None]] = queue.SimpleQueue()
    children = [_Child(number, request, share, partial, messages) for number, share in enumerate(shares)]
    peak, running = 0, set(range(len(children)))
    try:
        while running:
            number, message = messages.get()
            if message is None:
                children[number].check()
                running.discard(number)
            elif "error" in message:
                raise class_of(message["code"])(message["error"])
            else:
                report(message.get("bytes", 0))
                peak = max(peak, message.get("peak", 0))
    finally:
        for child in children:
            child.end()
    return peak


class _Child:
    def __init__(
        self,
        number: int,
        request: dict[str, Any],
        share: Share,
        partial: PartialOutput,
        messages: queue.SimpleQueue[tuple[int, dict[str, Any] | None]],
    ) -> None:
        self._done = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "skywork_rt.convert.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(partial.lock,),  # who writes holds the lock, even when the parent was killed
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        task = {
            **request,
            "root": str(partial.root),
            "journal": str(partial.journal(share.number)),
            "units": share.units,
        }
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it is gone already, and `check` says so
        self._thread = threading.Thread(target=self._read, args=(number, messages), daemon=True)
        self._thread.start()

    def _read(self, number: int, messages: queue.SimpleQueue[tuple[int, dict[str, Any] | None]]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                break  # it was killed in the middle of a line
            self._done = self._done or "peak" in message
            messages.put((number, message))
        messages.put((number, None))

    def check(self) -> None:
        """Raises when the process ended without having done its share."""
        status = self._process.wait()
        if status == 0 and self._done:
            return
        if status < 0:
            raise CapacityError(
                f"a process that wrote tensors was ended by signal {-status}, perhaps for lack of memory; run the same "
                "command again to go on, with fewer --workers"
            )
        raise InternalError(f"a process that wrote tensors ended with status {status}")

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
