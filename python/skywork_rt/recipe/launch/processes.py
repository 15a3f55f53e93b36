"""The processes that msrun started: which rank each is, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["RankProcess", "exit_status", "find_ranks"]


@dataclass
class RankProcess:
    """A rank, or with rank None the scheduler."""

    rank: int | None
    process: psutil.Process
    ended: bool = False
    code: int | None = None

    def look(self) -> bool:
        """Whether it has ended; its status is kept, None where its parent took it before anybody could look."""
        if not self.ended:
            found = exit_status(self.process.pid) if self.process.is_running() else (True, None)
            self.ended, self.code = found
        return self.ended

    def kill(self) -> None:
        """At once; one that has ended is left alone."""
        try:
            if not self.ended:
                self.process.kill()
        except psutil.NoSuchProcess:
            pass

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        try:
            if not self.ended:
                self.process.terminate()
        except psutil.NoSuchProcess:
            pass


def find_ranks(parent: int, known: list[RankProcess]) -> None:
    """Adds to `known` the children of msrun that are not in it yet."""
    seen = {one.process.pid for one in known}
    try:
        children = psutil.Process(parent).children()
    except psutil.NoSuchProcess:
        return
    for child in children:
        if child.pid in seen:
            continue
        try:
            environment = child.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        place = environment.get("MS_ROLE")
        if place == "MS_WORKER":
            known.append(RankProcess(int(environment.get("MS_NODE_ID") or environment.get("RANK_ID") or 0), child))
        elif place == "MS_SCHED":
            known.append(RankProcess(None, child))


def exit_status(pid: int) -> tuple[bool, int | None]:
    """Whether a process has ended, and its status (negative for a signal) while its parent has not taken it yet.

    The last field of /proc/PID/stat is the wait status of a process that has ended (proc(5), exit_code).
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True, None
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] not in ("Z", "X"):
        return False, None
    status = int(fields[-1])
    return True, -(status & 0x7F) if status & 0x7F else status >> 8
