"""Who runs when.

Opening is measured first: a fresh process a runtime and repeat, in turns. Speed is measured in processes that stay
open side by side: for each workload every runtime takes its turn, then comes the next workload, then the next repeat.
So the machine's mood, which changes within minutes, hits all of them alike, and ratios within a repeat are fair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from skywork_rt.bench.metrics import (
    METRICS,
    NEW_TOKENS,
    PROMPT_TOKENS,
    SHORT,
    Metric,
    decode_rate,
    metrics_of,
    workloads_of,
)
from skywork_rt.bench.process import BenchError, WorkerProcess
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.stream import glance_at_stream, measure_stream
from skywork_rt.bench.subjects import RECIPE, Subject
from skywork_rt.bench.workloads import Workload
from skywork_rt.support.host import available_memory

__all__ = ["Measurements", "Plan", "run_plan"]

Report = Callable[[str, int, int], None]
"""Progress: what is being done, units done, units in all."""

_PAGE = 1 << 20
_BATCH_WARM_UP = 80  # tokens
_SHARE_ROUNDS = 7


@dataclass(frozen=True)
class Plan:
    """A whole benchmark."""

    bundle: Path
    subjects: Sequence[Subject]
    metrics: Sequence[Metric]
    repeats: int
    threads: int
    model_length: int
    """Of the model, in tokens: workloads beyond it are left out."""
    recipe_length: int | None = None
    """What the recipe's loop pads to. None: the longest sequence of all workloads."""
    fresh_processes: bool = False
    """One process a runtime and repeat for everything, without a warm-up: for models that take minutes a workload."""

    @property
    def workloads(self) -> list[Workload]:
        return [workload for workload in workloads_of(self.metrics) if workload.length <= self.model_length]

    @property
    def measures_opening(self) -> bool:
        return any(metric.workload is None for metric in self.metrics)


@dataclass
class Measurements:
    """Samples of every subject and metric, one a repeat; what failed or was left out, in words."""

    samples: dict[tuple[Subject, str], list[float]] = field(default_factory=dict)
    streams: list[float] = field(default_factory=list)
    """Bytes a second that the machine read from memory: before the run, and at the begin of each repeat, or
    after each runtime where that takes minutes."""
    shares: dict[Subject, list[float]] = field(default_factory=dict)
    """Short sequences' decoding by what the memory's stream allows, in percent, a round each: see _measure_share."""
    notes: list[str] = field(default_factory=list)

    def add(self, subject: Subject, metric: str, value: float) -> None:
        self.samples.setdefault((subject, metric), []).append(value)

    def of(self, subject: Subject, metric: str) -> list[float]:
        """Empty when it was not measured."""
        return self.samples.get((subject, metric), [])

    @property
    def subjects(self) -> list[Subject]:
        return list(dict.fromkeys(subject for subject, _ in self.samples))

    def stream_limits(self, subject: Subject) -> list[float]:
        """Tokens/s of a decoder that does nothing but read this subject's weights and cache once a token, as decode_b1
        must."""
        return [stream / subject.read_bytes(PROMPT_TOKENS + NEW_TOKENS / 2) for stream in self.streams]

    def rows(self) -> list[Row]:
        """In the order of the metrics' table, a subject after the other, and the memory's speed at the end."""
        rows: list[Row] = []
        for subject in self.subjects:
            head = (subject.runtime, subject.weights, subject.bits_per_weight)
            for metric in METRICS:
                if samples := self.of(subject, metric.name):
                    rows.append(make_row(*head, metric.name, metric.unit, samples))
                if metric.name == "decode_b1" and samples and self.streams:
                    rows.append(make_row(*head, "stream_limit_b1", metric.unit, self.stream_limits(subject)))
                if metric.name == "decode_b1" and subject in self.shares:
                    rows.append(make_row(*head, "stream_share_b1", "%", self.shares[subject]))
        if self.streams:
            speeds = [stream / 1e6 for stream in self.streams]
            rows.append(make_row("memory:stream", "none", 0.0, "memory_stream", "MB/s", speeds))
        return rows


def run_plan(plan: Plan, report: Report) -> Measurements:
    """Measures. A runtime that fails is left out from then on, with a note; the others go on.

    Ctrl-C ends the run early: what was measured until then is kept.
    """
    measurements = Measurements()
    left_out = [w.name for w in workloads_of(plan.metrics) if w.length > plan.model_length]
    if left_out:
        measurements.notes.append(f"{', '.join(left_out)} left out: longer than the model's {plan.model_length} tokens")
    try:
        _measure(plan, measurements, report)
    except KeyboardInterrupt:
        measurements.notes.append("interrupted: these are the figures until then")
    return measurements


def _measure(plan: Plan, measurements: Measurements, report: Report) -> None:
    _warm_page_cache(plan)
    measurements.streams.append(measure_stream(plan.threads))
    alive = list(plan.subjects)
    if plan.fresh_processes:
        _measure_in_fresh_processes(plan, measurements, report)
        return
    if plan.measures_opening:
        alive = _measure_opening(plan, alive, measurements, report)
    groups = list(_groups(alive, plan))
    for index, group in enumerate(groups):
        stage = "measuring" if len(groups) == 1 else f"measuring, group {index + 1} of {len(groups)}"
        _measure_speed(plan, group, measurements, report, stage)


def _measure_in_fresh_processes(plan: Plan, measurements: Measurements, report: Report) -> None:
    """Opens, runs every workload once and ends, one runtime after the other."""
    names = {metric.name for metric in plan.metrics}
    steps = 1 + len(plan.workloads)
    total = plan.repeats * len(plan.subjects) * steps
    failed: set[Subject] = set()
    for repeat in range(plan.repeats):
        for index, subject in enumerate(plan.subjects):
            done = (repeat * len(plan.subjects) + index) * steps
            report("measuring", done, total)
            if subject in failed:
                continue
            try:
                with WorkerProcess(subject.label) as worker:
                    load = worker.open(subject.runtime, plan.bundle, _options(plan, subject, plan.workloads))
                    if "load" in names:
                        measurements.add(subject, "load", load)
                    for step, workload in enumerate(plan.workloads, start=1):
                        report("measuring", done + step, total)
                        _measure_once(plan, worker, subject, workload, repeat, measurements)
                    if "peak_rss" in names:
                        measurements.add(subject, "peak_rss", worker.peak_rss() / 2**20)
                    _measure_share(plan, worker, subject, measurements)
            except BenchError as error:
                failed.add(subject)
                measurements.notes.append(str(error))
            measurements.streams.append(measure_stream(plan.threads))
    report("measuring", total, total)


def _measure_opening(plan: Plan, subjects: list[Subject], measurements: Measurements, report: Report) -> list[Subject]:
    names = {metric.name for metric in plan.metrics}
    solo = next(metric.workload for metric in METRICS if metric.name == "decode_b1")
    assert solo is not None, "decoding is measured on a workload"
    turns = [(repeat, subject) for repeat in range(plan.repeats) for subject in subjects]
    failed: set[Subject] = set()
    for done, (repeat, subject) in enumerate(turns):
        report("opening", done, len(turns))
        if subject in failed:
            continue
        try:
            with WorkerProcess(subject.label) as worker:
                load = worker.open(subject.runtime, plan.bundle, _options(plan, subject, [solo]))
                if "peak_rss" in names and solo.length <= plan.model_length:
                    worker.run(solo, repeat)
                    measurements.add(subject, "peak_rss", worker.peak_rss() / 2**20)
        except BenchError as error:
            failed.add(subject)
            measurements.notes.append(str(error))
            continue
        if "load" in names:
            measurements.add(subject, "load", load)
    report("opening", len(turns), len(turns))
    return [subject for subject in subjects if subject not in failed]


def _measure_speed(plan: Plan, group: list[Subject], measurements: Measurements, report: Report, stage: str) -> None:
    workloads = plan.workloads
    if not workloads:
        return
    with ExitStack() as stack:
        workers = dict(_open_all(plan, group, stack, measurements, report))
        turns = [(repeat, workload) for repeat in range(-1, plan.repeats) for workload in workloads]
        for done, (repeat, workload) in enumerate(turns):
            report(stage, done, len(turns))
            if repeat >= 0 and workload == workloads[0]:
                measurements.streams.append(measure_stream(plan.threads))
            for subject in list(workers):
                try:
                    _measure_once(plan, workers[subject], subject, workload, repeat, measurements)
                except BenchError as error:
                    measurements.notes.append(str(error))
                    workers.pop(subject).close()
        for subject, worker in workers.items():
            try:
                _measure_share(plan, worker, subject, measurements)
            except BenchError as error:
                measurements.notes.append(str(error))
        report(stage, len(turns), len(turns))


def _open_all(
    plan: Plan, group: list[Subject], stack: ExitStack, measurements: Measurements, report: Report
) -> Iterator[tuple[Subject, WorkerProcess]]:
    for done, subject in enumerate(group):
        report("opening side by side", done, len(group))
        worker = stack.enter_context(WorkerProcess(subject.label))
        try:
            worker.open(subject.runtime, plan.bundle, _options(plan, subject, plan.workloads))
            yield subject, worker
        except BenchError as error:
            measurements.notes.append(str(error))
    report("opening side by side", len(group), len(group))


def _measure_once(
    plan: Plan, worker: WorkerProcess, subject: Subject, workload: Workload, repeat: int, measurements: Measurements
) -> None:
    if repeat < 0:
        _warm_up(worker, workload)
        return
    trace = worker.run(workload, 1 + repeat)
    for metric in metrics_of(plan.metrics, workload):
        assert metric.read is not None, "a metric of a workload can be read off its clock"
        measurements.add(subject, metric.name, metric.read(trace))


def _measure_share(plan: Plan, worker: WorkerProcess, subject: Subject, measurements: Measurements) -> None:
    """Decodes a short sequence between two glances at the memory's speed, some rounds of it: on a machine that others
    use that speed doubles and halves within a minute, so a figure counts only beside the speed of its own moment."""
    if not measurements.of(subject, "decode_b1") or not subject.runtime.startswith("skywork_rt:"):
        return
    read = subject.read_bytes(SHORT.prompt_tokens + SHORT.new_tokens / 2)
    for _ in range(_SHARE_ROUNDS):
        before = glance_at_stream(plan.threads)
        rate = decode_rate(worker.run(SHORT, 0))
        limit = (before + glance_at_stream(plan.threads)) / 2 / read
        measurements.shares.setdefault(subject, []).append(100 * rate / limit)


def _warm_up(worker: WorkerProcess, workload: Workload) -> None:
    """First touches of graphs and caches. Of a batch so much that our backend on Lite has loaded its graph for batches,
    which it puts off until 64 tokens were decoded without: a load is no part of a rate."""
    wanted = 8 if workload.batch == 1 else _BATCH_WARM_UP // workload.batch + 2
    short = Workload(workload.name, workload.batch, workload.prompt_tokens, min(wanted, workload.new_tokens))
    decoded = 0
    while True:
        decoded += max(1, worker.run(short, 0).decoded)
        if workload.batch == 1 or decoded >= _BATCH_WARM_UP:
            return


def _options(plan: Plan, subject: Subject, workloads: Sequence[Workload]) -> dict[str, str | int]:
    longest = max((workload.length for workload in workloads), default=2)
    options: dict[str, str | int] = {
        **subject.options,
        "threads": plan.threads,
        "max_batch": max((workload.batch for workload in workloads), default=1),
        "max_length": min(plan.model_length, longest),
    }
    if subject.runtime == RECIPE:
        options["sequence_length"] = plan.recipe_length or min(plan.model_length, _longest(plan))
    return options


def _longest(plan: Plan) -> int:
    return max((workload.length for workload in plan.workloads), default=2)


def _groups(subjects: list[Subject], plan: Plan) -> Iterator[list[Subject]]:
    """As many runtimes side by side as memory allows, in order."""
    room = 0.9 * available_memory()
    group: list[Subject] = []
    for subject in subjects:
        if group and sum(_expected_memory(plan, s) for s in [*group, subject]) > room:
            yield group
            group = []
        group.append(subject)
    if group:
        yield group


def _expected_memory(plan: Plan, subject: Subject) -> float:
    """Bytes. Lite holds a graph's weights four times once it is built, and six times while it builds."""
    copies = 4.5 if subject.options.get("backend") == "lite" else 1.0
    tokens = max((workload.batch * workload.length for workload in plan.workloads), default=1)
    files = sum((plan.bundle / file).stat().st_size for file in subject.files)
    return copies * files + 2 * subject.cache_bytes * tokens + 2**28


def _warm_page_cache(plan: Plan) -> None:
    for name in sorted({name for subject in plan.subjects for name in subject.files}):
        with (plan.bundle / name).open("rb") as file:
            while file.read(_PAGE):
                pass
