"""Signals that ask a long command to come to an orderly end."""

from __future__ import annotations

import os
import signal
import stat

__all__ = ["let_go_of_terminal", "stop_signals"]


def stop_signals() -> tuple[signal.Signals, ...]:
    """Ctrl-C, SIGTERM, and that the terminal was closed, but for those who asked by nohup to go on then."""
    asked = (signal.SIGINT, signal.SIGTERM)
    return asked if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*asked, signal.SIGHUP)


def let_go_of_terminal(number: int) -> None:
    """After SIGHUP: writing to a closed terminal is an error, which must not end what is to be saved."""
    if number != signal.SIGHUP:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        try:
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere, stream)
        except OSError:
            continue
    os.close(nowhere)
