"""Telling a script's author once what an option of the old system does here: nothing, or something else."""

from __future__ import annotations

import logging
import threading

__all__ = ["ignored", "notice"]

_log = logging.getLogger("skywork_rt.compat")
_said: set[str] = set()
_lock = threading.Lock()


def notice(key: str, text: str) -> None:
    """Logs a warning the first time that `key` comes up in this process."""
    with _lock:
        if key in _said:
            return
        _said.add(key)
    _log.warning("%s", text)


def ignored(owner: str, name: str, why: str) -> None:
    """Warns once that an option was given that has no effect."""
    notice(f"{owner}.{name}", f"{owner}: {name} has no effect here: {why}")
