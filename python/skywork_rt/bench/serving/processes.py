"""The processes of a server that the bench started: where they run, what they cost, and how they end."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from skywork_rt.bench.process import BenchError
from skywork_rt.errors import InvalidArgumentError, UnsupportedError

__all__ = ["Cost", "ServerProcess", "parse_cpus", "pin_threads", "process_tree", "thread_seconds"]

_LAST_WORDS = 2000
"""Characters of a dead server's output that go into the message."""
_SECONDS_TO_END = 20


@dataclass(frozen=True)
class Cost:
    """What a server and its children have used so far."""

    cpu_seconds: float
    resident_bytes: int


class ServerProcess:
    """A command that serves, in a session of its own, its output in a file that is gone with it."""

    def __init__(self, label: str, command: str, cpus: Collection[int] | None = None) -> None:
        """`cpus`: the cores that it may use from its first instruction on. Raises InvalidArgumentError, BenchError."""
        _require_psutil()
        self.label = label
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise InvalidArgumentError(f"--start {label}: the command is no shell words: {error}") from None
        own = os.sched_getaffinity(0)
        try:
            if cpus is not None:
                os.sched_setaffinity(0, cpus)  # a child begins with it; afterwards we go back
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except (OSError, IndexError, ValueError) as error:
            raise BenchError(f"{label}: the command cannot be started: {error}") from None
        finally:
            os.sched_setaffinity(0, own)

    @property
    def pid(self) -> int:
        return self._process.pid

    def check_alive(self) -> None:
        """Raises BenchError with the server's last words if it has ended."""
        status = self._process.poll()
        if status is not None:
            raise BenchError(f"{self.label}: the server ended with status {status}: {self.last_words() or 'no output'}")

    def last_words(self) -> str:
        self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, self._output.tell() - _LAST_WORDS))
        return " ".join(self._output.read().decode(errors="replace").split())

    def cost(self) -> Cost:
        import psutil

        seconds, resident = 0.0, 0
        for pid in process_tree(self.pid):
            with contextlib.suppress(psutil.Error):  # a child that ended meanwhile
                process = psutil.Process(pid)
                times = process.cpu_times()
                seconds += times.user + times.system
                resident += process.memory_info().rss
        return Cost(seconds, resident)

    def close(self) -> None:
        """SIGTERM, and SIGKILL when that does not end it; children are ended, too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def process_tree(pid: int) -> list[int]:
    """The process and its descendants; empty when it is gone."""
    import psutil

    try:
        root = psutil.Process(pid)
        return [root.pid, *(child.pid for child in root.children(recursive=True))]
    except psutil.Error:
        return []


def pin_threads(pid: int, names: Sequence[str], cpus: Collection[int], others: Collection[int]) -> list[str]:
    """Puts the threads that have one of the names on `cpus`, all others of the tree on `others`.

    Linux shows a thread's name, and moves single threads, so that a server's engine and its event loop can be kept
    apart from outside. Returns the names of those that were found.
    """
    found = []
    for task, name in _threads(pid):
        with contextlib.suppress(OSError):  # it ended meanwhile
            os.sched_setaffinity(int(task.name), cpus if name in names else others)
            if name in names:
                found.append(name)
    return found


def thread_seconds(pid: int, name: str) -> float:
    """Processor seconds of the threads of this name, user's and system's."""
    ticks = 0
    for task, found in _threads(pid):
        if found == name:
            with contextlib.suppress(OSError):
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _threads(pid: int) -> list[tuple[Path, str]]:
    """Each thread's folder in /proc, and its name."""
    found = []
    for process in process_tree(pid):
        for task in Path(f"/proc/{process}/task").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                found.append((task, (task / "comm").read_text().strip()))
    return found


def parse_cpus(option: str, text: str) -> frozenset[int]:
    """`0`, `0,2`, `0-3`. Raises InvalidArgumentError for cores that this process may not use."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise InvalidArgumentError(f"{option} is {text!r}, but must be cores such as 0, 0,2 or 0-3")
        cpus |= set(range(int(first), int(last or first) + 1))
    usable = os.sched_getaffinity(0)
    if not cpus <= usable:
        raise InvalidArgumentError(
            f"{option} has the cores {sorted(cpus - usable)}, but this process may use {sorted(usable)}"
        )
    return frozenset(cpus)


def _require_psutil() -> None:
    try:
        import psutil  # noqa: F401
    except ImportError as error:
        raise UnsupportedError("starting servers needs psutil; install it: pip install 'skywork_rt[bench]'") from error
