"""Progress bars on stderr, in one style."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from skywork_rt.support.stages import Progress as StageProgress

__all__ = ["progress_bars", "request_bar"]


def _columns() -> tuple[TextColumn, BarColumn, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn]:
    return (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


class _Bars:
    """One bar a stage, in the order in which stages begin; without a terminal one line when a stage ends."""

    def __init__(self, bars: Progress, console: Console) -> None:
        self._bars = bars
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[str] = set()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=max(total, 1), visible=self._console.is_terminal)
        self._bars.update(self._tasks[stage], completed=done if total > 0 else 1, total=max(total, 1))
        if done >= total and stage not in self._ended:
            self._ended.add(stage)
            if not self._console.is_terminal:
                self._console.print(f"{stage}: done", highlight=False)


@contextmanager
def progress_bars() -> Iterator[StageProgress]:
    """Shows the export's and the installer's progress: a function of stage, done and total."""
    console = Console(stderr=True)
    with Progress(*_columns(), console=console, disable=not console.is_terminal) as bars:
        yield _Bars(bars, console)


@contextmanager
def request_bar(total: int) -> Iterator[Callable[[int, int], None]]:
    """Shows how many of `total` requests are finished."""
    console = Console(stderr=True)
    with Progress(*_columns(), console=console, disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task("requests", total=total)
        yield lambda done, count: bars.update(task, completed=done, total=count)
