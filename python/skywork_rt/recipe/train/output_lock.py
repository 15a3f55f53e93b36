"""One training at a time in an output folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator

import psutil

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.train.output import Output

__all__ = ["hold"]


@contextlib.contextmanager
def hold(output: Output) -> Iterator[None]:
    """Holds the folder until the context is left, or this process is gone however it ends.

    What starts the ranks of a training holds it for them: a rank whose ancestor holds the folder goes on without.
    Raises InvalidArgumentError that names the folder and the process that holds it.
    """
    output.check_writable()
    with output.lock.open("a+", encoding="utf-8") as file:
        if _locked(file.fileno()):
            file.truncate(0)
            file.write(f"{os.getpid()} {socket.gethostname()}\n")
            file.flush()
        else:
            file.seek(0)
            _refuse_others(output, file.read().split())
        yield


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some shared file systems have no locks; a training there is worth more than the guard.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _refuse_others(output: Output, holder: list[str]) -> None:
    if holder and holder[0].isdecimal() and int(holder[0]) in (one.pid for one in psutil.Process().parents()):
        return
    who = f" (process {holder[0]} on {' '.join(holder[1:])})" if len(holder) > 1 else ""
    raise InvalidArgumentError(
        f"another training{who} writes to output_dir {output.folder} now; wait for its end, or give another "
        "--output-dir"
    )
