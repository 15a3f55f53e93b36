"""Running a plan to its end: what is there is kept, the rest is written by one process or by several."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from skywork_rt.convert.partial import PartialOutput
from skywork_rt.convert.plan import Plan, Unit
from skywork_rt.convert.workers import Share, run_workers
from skywork_rt.convert.writing import write_units
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.host import peak_memory
from skywork_rt.support.stages import Progress

__all__ = ["Job", "Outcome", "check_workers", "job_of", "plain", "run", "share_out"]


class Job(Protocol):
    """What is to be done, as plain values: a child process makes the same plan of it."""

    def plan(self) -> Plan:
        """Reads the tables of the inputs and lays out the output."""
        ...

    def to_json(self) -> dict[str, Any]:
        """The values, for `from_json` of the same class."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a run went: tensors in the output, of which `resumed` were there already, bytes, and the largest peak of
    memory of a process."""

    tensors: int
    resumed: int
    bytes: int
    peak_memory: int


def run(
    job: Job | None,
    plan: Plan,
    partial: PartialOutput,
    stage: str,
    progress: Progress,
    workers: int = 1,
) -> Outcome:
    """Writes all of `plan` into `partial`; the caller adds small files and publishes it.

    `job` describes the plan to other processes; without it there is this one only.
    """
    found = partial.open(plan, progress)
    todo = [unit for unit in plan.units() if unit not in found]
    counter = _Counter(progress, stage, plan.total(), sum(map(plan.size, found)))
    if job is None or workers <= 1 or len(todo) <= 1:
        write_units(plan, todo, partial.root, partial.journal(1), counter)
        peak = peak_memory()
    else:
        shares = share_out(plan, todo, workers)
        request = {"module": type(job).__module__, "class": type(job).__qualname__, "job": job.to_json()}
        peak = run_workers(request, shares, partial, counter)
    partial.finish(plan, progress)
    return Outcome(len(plan.units()), len(found), plan.total(), max(peak, peak_memory()))


class _Counter:
    """Adds up bytes for a `Progress`."""

    def __init__(self, progress: Progress, stage: str, total: int, done: int) -> None:
        self._progress, self._stage, self._total, self._done = progress, stage, total, done
        progress(stage, done, total)

    def __call__(self, count: int) -> None:
        self._done += count
        self._progress(self._stage, self._done, self._total)


def share_out(plan: Plan, todo: Sequence[Unit], workers: int) -> list[Share]:
    """Whole files where there are enough of them, else tensors; each goes to whoever has least."""
    groups: dict[int, list[Unit]] = {}
    for unit in todo:
        groups.setdefault(unit[0], []).append(unit)
    parts = list(groups.values()) if len(groups) >= workers else [[unit] for unit in todo]
    shares: list[list[Unit]] = [[] for _ in range(min(workers, len(parts)))]
    sizes = [0] * len(shares)
    for part in sorted(parts, key=lambda units: -sum(map(plan.size, units))):
        least = sizes.index(min(sizes))
        shares[least] += part
        sizes[least] += sum(map(plan.size, part))
    return [Share(number, sorted(units)) for number, units in enumerate(shares, 1)]


def default_workers(parts: int) -> int:
    """As many processes as this one may use processors, and no more than there are parts."""
    return max(1, min(len(os.sched_getaffinity(0)), parts))


def check_workers(workers: int | None, parts: int) -> int:
    """The number to use. Raises InvalidArgumentError unless it is at least 1."""
    if workers is None:
        return default_workers(parts)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise InvalidArgumentError(f"workers is {workers!r}; it must be a whole number of at least 1")
    return min(workers, parts)


def job_of(request: dict[str, Any]) -> Job:
    """The job that a parent described."""
    module = importlib.import_module(request["module"])
    maker: Callable[[dict[str, Any]], Job] = getattr(module, request["class"]).from_json
    return maker(request["job"])


def plain(value: Any) -> dict[str, Any]:
    """A dataclass of paths and plain values as JSON has it."""
    body: dict[str, Any] = dataclasses.asdict(value)
    return {name: str(item) if isinstance(item, Path) else item for name, item in body.items()}
