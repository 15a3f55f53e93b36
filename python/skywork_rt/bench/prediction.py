"""What the planner predicts for the native backend, beside what it does, in the same minutes.

The processor is probed before and after each repeat, whose prediction is the mean of both probes': memory and last
caches that other programs use give a half or a third of their speed at times, and a figure counts only beside those of
its moments.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.bench.metrics import decode_rate
from skywork_rt.bench.process import WorkerProcess
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.runner import Report
from skywork_rt.bench.stats import summarise
from skywork_rt.bench.subjects import NATIVE, Subject, list_subjects, select_subjects
from skywork_rt.bench.workloads import Trace, Workload
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.plan.geometry import Geometry
from skywork_rt.plan.probe import measure
from skywork_rt.plan.processor import Processor, kinds_of

__all__ = ["LIMIT", "Prediction", "comparisons", "predict"]

LIMIT = 0.20
"""How far a prediction may be off, as a share of what was measured."""

_LARGE_BYTES = 1e9
"""Weights from which on a model takes a minute for what a small one does in a second, and is asked for less."""

_PAIRS = tuple((weights, activations) for weights in ("int4", "int8") for activations in ("f32", "int8"))


@dataclass(frozen=True)
class _Case:
    metric: str
    workload: Workload

    @property
    def prefill(self) -> bool:
        return self.metric.startswith("prefill")

    @property
    def tokens(self) -> int:
        """Of a prompt or a step."""
        return self.workload.prompt_tokens if self.prefill else self.workload.batch


def _cases(large: bool) -> list[_Case]:
    prompt, new = (192, 16) if large else (512, 64)
    cases = [_Case(f"prefill_{prompt}", Workload("prefill", 1, prompt, 2)), _Case("decode_b1", _solo(prompt, new))]
    return cases if large else [*cases, _Case("decode_b8", Workload("b8", 8, prompt, new))]


def _solo(prompt: int, new: int) -> Workload:
    return Workload("solo", 1, prompt, new)


@dataclass(frozen=True)
class Prediction:
    """Tokens a second of one subject and metric, a repeat each."""

    model: str
    subject: Subject
    metric: str
    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    @property
    def error(self) -> float:
        """The repeats' median: 0.1 for predictions that are a tenth too high."""
        pairs = zip(self.predicted, self.measured, strict=True)
        return summarise([predicted / measured for predicted, measured in pairs]).median - 1

    def rows(self) -> list[Row]:
        head = (self.subject.runtime, self.subject.weights, self.subject.bits_per_weight)
        return [
            make_row(*head, f"{self.model}:{self.metric}", "tokens/s", self.measured),
            make_row("planner", self.subject.weights, 0.0, f"{self.model}:{self.metric}", "tokens/s", self.predicted),
        ]


def predict(bundles: Sequence[Path], threads: int, repeats: int, report: Report) -> list[Prediction]:
    """Every int8 and int4 weights of each bundle. Raises InvalidArgumentError for a bundle that has none."""
    found: list[Prediction] = []
    for index, bundle in enumerate(bundles):
        report("bundles", index, len(bundles))
        subjects = [subject for subject in select_subjects(list_subjects(bundle), []) if _predictable(subject)]
        if not subjects:
            raise InvalidArgumentError(f"{bundle} has no int8 or int4 weights, which are what the planner knows")
        config = ModelConfig.from_json(BundleInfo.open(bundle).section("model"))
        for subject in subjects:
            found += _predict_subject(bundle, config, subject, threads, repeats)
    report("bundles", len(bundles), len(bundles))
    return found


def comparisons(predictions: Sequence[Prediction]) -> Iterator[str]:
    """A Markdown table."""
    yield "| model | weights | metric | predicted | measured | off by |"
    yield "|---|---|---|---:|---:|---:|"
    for one in predictions:
        predicted, measured = summarise(one.predicted).median, summarise(one.measured).median
        mark = "" if abs(one.error) <= LIMIT else " !"
        yield (
            f"| {one.model} | {one.subject.weights} | {one.metric} | {predicted:.1f} | {measured:.1f} "
            f"| {100 * one.error:+.0f} %{mark} |"
        )
    within = sum(abs(one.error) <= LIMIT for one in predictions)
    yield ""
    yield f"{within} of {len(predictions)} predictions are within {100 * LIMIT:.0f} %."


def _predictable(subject: Subject) -> bool:
    return subject.runtime == NATIVE and tuple(subject.weights.split("/")) in _PAIRS


def _predict_subject(
    bundle: Path, config: ModelConfig, subject: Subject, threads: int, repeats: int
) -> list[Prediction]:
    """A probe, every case, a probe, every case, … a probe."""
    cases = _cases(subject.weight_bytes > _LARGE_BYTES)
    probes = [measure(threads, _pairs_of(subject))]
    rounds: list[list[Trace]] = []
    with _opened(bundle, subject, [case.workload for case in cases], threads) as worker:
        for repeat in range(repeats):
            rounds.append([worker.run(case.workload, 1 + repeat) for case in cases])
            probes.append(measure(threads, _pairs_of(subject)))
    weights, activations = subject.weights.split("/")
    processors = [Processor(Geometry(config), probe, weights, activations) for probe in probes]
    predictions = []
    for case, traces in zip(cases, zip(*rounds, strict=True), strict=True):
        seconds = [_seconds(processor, case) for processor in processors]
        predicted = [2 * case.tokens / (before + after) for before, after in itertools.pairwise(seconds)]
        measured = [_rate(trace, case) for trace in traces]
        predictions.append(Prediction(config.name, subject, case.metric, tuple(predicted), tuple(measured)))
    return predictions


def _pairs_of(subject: Subject) -> list[tuple[str, str]]:
    weights, activations = subject.weights.split("/")
    return [(kind, activations) for kind in kinds_of(weights)]


@contextlib.contextmanager
def _opened(bundle: Path, subject: Subject, workloads: Sequence[Workload], threads: int) -> Iterator[WorkerProcess]:
    options: dict[str, str | int] = {
        **subject.options,
        "threads": threads,
        "max_batch": max(workload.batch for workload in workloads),
        "max_length": max(workload.length for workload in workloads),
    }
    with WorkerProcess(subject.label) as worker:
        worker.open(subject.runtime, bundle, options)
        worker.run(Workload("warm", workloads[0].batch, 16, 4), 0)
        yield worker


def _seconds(processor: Processor, case: _Case) -> float:
    """Of a prompt or a step."""
    workload = case.workload
    if case.prefill:
        return processor.prefill(workload.prompt_tokens)
    return processor.decode(workload.prompt_tokens + workload.new_tokens / 2, workload.batch)


def _rate(trace: Trace, case: _Case) -> float:
    return case.tokens / trace.first_token if case.prefill else decode_rate(trace)
