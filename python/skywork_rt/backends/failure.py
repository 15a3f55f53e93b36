"""What an exception of a backend written in Python becomes for those whose requests it ends. The core calls this."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from skywork_rt.errors import SkyworkError

__all__ = ["describe"]

_log = logging.getLogger("skywork_rt.backends")


def describe(backend: object, method: str, error: BaseException) -> tuple[str, str]:
    """The code (`SkyworkError.code`) and a sentence: class and method, what was raised, and the line that raised it.

    The whole traceback goes to the log `skywork_rt.backends`, at the level DEBUG.
    """
    _log.debug("%s.%s raised", type(backend).__name__, method, exc_info=error)
    if isinstance(error, SkyworkError):
        return error.code, str(error)
    code = "capacity" if isinstance(error, MemoryError) else "backend"
    return code, f"{type(backend).__name__}.{method} raised {_said(error)}{_place(error)}"


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
