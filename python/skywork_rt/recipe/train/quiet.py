"""Where MindFormers and MindSpore print and write: all of it below the output folder."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

__all__ = ["aside", "set_environment"]


def set_environment(output: Path) -> None:
    """Before MindFormers is imported: its own log and strategy folders, which else are ./output."""
    os.environ["LOCAL_DEFAULT_PATH"] = str(output)
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's warnings are for those who ask for them


@contextlib.contextmanager
def aside(log: Path) -> Iterator[TextIO]:
    """Sends what is printed to `log`; gives the stream that shows lines on the screen."""
    log.parent.mkdir(parents=True, exist_ok=True)
    screen = sys.stdout
    with log.open("a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        yield screen
