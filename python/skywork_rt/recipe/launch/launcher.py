"""Starts the ranks of a program through msrun and watches them.

msrun alone needs 40 to 47 seconds to end when a rank has died, because it waits for its scheduler's heartbeat, and does
not say why the rank died. Here the others are ended at once, and the reason is shown.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from skywork_rt.errors import BackendError, InvalidArgumentError, UnsupportedError
from skywork_rt.recipe.launch.failure import describe_exit, first_failure, reason_in
from skywork_rt.recipe.launch.processes import RankProcess, find_ranks
from skywork_rt.support.stop_signals import let_go_of_terminal, stop_signals

__all__ = ["Launch", "Launched", "free_port", "python_command", "run_ranks"]

_TIED = Path(__file__).with_name("tied.py")

_LOOK = 0.05
"""Seconds between two looks at the processes; msrun itself looks once a second and takes their status then."""

_NOISE = re.compile(rb"\[(INFO|DEBUG)\] [A-Z_]+\(\d+,")
"""MindSpore's own lines about connections, which it writes at any level of its log; they stay in the file."""

_SCHEDULER_GRACE = 10.0
"""Seconds that the scheduler has to end by itself after the last rank."""


@dataclass(frozen=True)
class Launch:
    """What to start. `command` is python and its arguments, without the interpreter's path."""

    command: Sequence[str]
    ranks: int
    log_dir: Path
    rank_table: Path | None = None
    devices: Sequence[int] | None = None
    port: int | None = None
    follow: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Launched:
    """How it ended: `stopped_by` is the signal that asked it to."""

    stopped_by: int | None = None


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python_command(text: str) -> list[str]:
    """A command as run_singlenode.sh takes it, as python's arguments. Raises InvalidArgumentError for what is no
    Python program, which msrun cannot start."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidArgumentError(f"the command {text!r} cannot be read: {error}") from error
    if not words:
        raise InvalidArgumentError("the command is empty; give one such as 'skywork-rt train --config X.yaml'")
    program = Path(words[0]).name
    if program == "skywork-rt":
        return ["-m", "skywork_rt", *words[1:]]
    if program.startswith("python"):
        return words[1:]
    if program.endswith(".py"):
        return words
    raise InvalidArgumentError(
        f"{words[0]} is no Python program; msrun starts those alone: 'python X.py …' or 'skywork-rt …'"
    )


def run_ranks(launch: Launch, say: Callable[[str], None]) -> Launched:
    """Runs until all ranks have ended. Raises BackendError with the rank's reason as soon as one fails; then none of
    the others is left. Ctrl-C, SIGTERM and SIGHUP are passed on, and the ranks save before they end; a second one kills
    them.
    """
    msrun = _start(launch)
    watch = _Watched(launch, msrun, say)
    try:
        with _Signals(watch.stop):
            watch.wait()
    finally:
        watch.kill_all()
    return Launched(watch.asked)


def _start(launch: Launch) -> subprocess.Popen[bytes]:
    folder = Path(sys.executable).parent
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    msrun = shutil.which("msrun", path=path)
    if msrun is None:
        raise UnsupportedError("msrun is not there; it comes with MindSpore: pip install 'skywork-rt[recipe]'")
    launch.log_dir.mkdir(parents=True, exist_ok=True)
    for old in (*launch.log_dir.glob("worker_*.log"), launch.log_dir / "scheduler.log"):
        old.unlink(missing_ok=True)
    environment = {**os.environ, **launch.environment, "PATH": path, "PYTHONUNBUFFERED": "1"}
    if launch.devices is not None:
        environment["ASCEND_RT_VISIBLE_DEVICES"] = ",".join(map(str, launch.devices))
    # msrun ends with this process, and the ranks with msrun, even when this process is killed.
    command = [
        sys.executable,
        str(_TIED),
        str(os.getpid()),
        msrun,
        f"--worker_num={launch.ranks}",
        f"--local_worker_num={launch.ranks}",
        f"--master_port={launch.port or free_port()}",
        f"--log_dir={launch.log_dir}",
        "--join=True",
        f"--tail_worker_log={launch.ranks}",  # of no worker: they are followed here
        "--cluster_time_out=300",
        *([f"--rank_table_file={launch.rank_table}"] if launch.rank_table else []),
        "python",
        str(_TIED),
        "0",
        "python",
        *launch.command,
    ]
    with (launch.log_dir / "msrun.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


class _Watched:
    """The processes of a launch."""

    def __init__(self, launch: Launch, msrun: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
        self._launch, self._msrun = launch, msrun
        self._known: list[RankProcess] = []
        self._follower = _Follower(launch.log_dir / f"worker_{launch.follow}.log", say)
        self.asked: int | None = None

    def stop(self, number: int) -> None:
        """Passes a signal on; the second time everything is killed."""
        if self.asked is not None:
            self.kill_all()
            raise KeyboardInterrupt
        self.asked = number
        for one in self._workers():
            one.ask_to_stop()

    def wait(self) -> None:
        """Until all ranks have ended well. Raises BackendError for the first that has not."""
        while True:
            find_ranks(self._msrun.pid, self._known)
            ended = [one for one in self._known if one.look()]
            self._follower.read()
            failed = next((one for one in ended if one.rank is not None and one.code not in (0, None)), None)
            if failed is not None and self.asked is None:
                self._fail(failed)
            if self._all_ended():
                self._follower.read()
                return self._finish()
            time.sleep(_LOOK)

    def _workers(self) -> list[RankProcess]:
        return [one for one in self._known if one.rank is not None]

    def _all_ended(self) -> bool:
        workers = self._workers()
        all_known = len(workers) == self._launch.ranks and all(one.ended for one in workers)
        return all_known or self._msrun.poll() is not None

    def _finish(self) -> None:
        """All ranks are gone: msrun's own status decides where a rank's was not seen."""
        if self._msrun.poll() is None:
            unseen = any(one.code is None for one in self._workers())
            self._wait_for_msrun(_SCHEDULER_GRACE)
            if self._msrun.poll() is None and not unseen:
                return
        if self._msrun.returncode not in (0, None) and self.asked is None:
            unknown = next((one for one in self._workers() if one.code is None), None)
            if unknown is not None or not self._workers():
                self._fail(unknown)

    def _wait_for_msrun(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._msrun.wait(seconds)

    def _fail(self, failed: RankProcess | None) -> None:
        self.kill_all()
        self._follower.read()
        if failed is None:
            raise BackendError(
                f"msrun did not start the ranks: {reason_in(self._launch.log_dir / 'msrun.log')}; its log is in "
                f"{self._launch.log_dir}"
            )
        failed = self._first_of(failed)
        log = self._launch.log_dir / f"worker_{failed.rank}.log"
        reason = reason_in(log)
        raise BackendError(
            f"rank {failed.rank} {describe_exit(failed.code)}{': ' + reason if reason else ''}; the other ranks were "
            f"ended, the whole text is in {log}"
        )

    def _first_of(self, failed: RankProcess) -> RankProcess:
        """The rank that failed first: msrun may have seen it before us, and have killed `failed` for it."""
        said = first_failure(self._launch.log_dir / "msrun.log") if failed.code == -signal.SIGKILL else None
        if said is None or said[0] == failed.process.pid:
            return failed
        known = next((one for one in self._known if one.process.pid == said[0]), None)
        seen = {one.rank for one in self._known}
        unseen = [rank for rank in range(self._launch.ranks) if rank not in seen]
        rank = known.rank if known is not None else unseen[0] if len(unseen) == 1 else failed.rank
        return RankProcess(rank, failed.process, True, said[1])

    def kill_all(self) -> None:
        """No process of the launch is left afterwards."""
        find_ranks(self._msrun.pid, self._known)
        for one in self._known:
            one.look()
            one.kill()
        if self._msrun.poll() is None:
            self._msrun.kill()
        self._msrun.wait()


class _Follower:
    """Shows what one rank prints, line by line, as it comes."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._offset, self._rest = 0, b""

    def read(self) -> None:
        """What has come since the last time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            if not _NOISE.match(line):
                self._say(line.decode("utf-8", "replace"))


class _Signals:
    """Hands Ctrl-C, SIGTERM and SIGHUP to a function while its context is open."""

    def __init__(self, handler: Callable[[int], None]) -> None:
        self._handler = handler
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                self._before[number] = signal.signal(number, self._called)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # type: ignore[arg-type]

    def _called(self, number: int, frame: FrameType | None) -> None:
        del frame
        let_go_of_terminal(number)
        self._handler(number)
