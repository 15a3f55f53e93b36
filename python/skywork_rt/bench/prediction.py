"""What the planner predicts for the native backend, beside what it does, in the same minutes.

The processor is probed before and after a bundle's measurements, and each prediction is the mean of both probes':
memory that other programs use gives half of its speed at times, and a figure counts only beside those of its moments.
"""

from __future__ import annotations

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
from skywork_rt.plan.probe import Probe, measure
from skywork_rt.plan.processor import Processor

__all__ = ["LIMIT", "Prediction", "comparisons", "predict"]

LIMIT = 0.20
"""How far a prediction may be off, as a share of what was measured."""

_PAIRS = tuple((weights, activations) for weights in ("int4", "int8") for activations in ("f32", "int8"))


@dataclass(frozen=True)
class _Case:
    metric: str
    workload: Workload


def _cases(large: bool) -> list[_Case]:
    """A large model takes a minute for what a small one does in a second."""
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
        """Of the medians: 0.1 for a prediction that is a tenth too high."""
        return summarise(self.predicted).median / summarise(self.measured).median - 1

    def rows(self) -> list[Row]:
        head = (self.subject.runtime, self.subject.weights, self.subject.bits_per_weight)
        return [
            make_row(*head, f"{self.model}:{self.metric}", "tokens/s", self.measured),
            make_row("planner", self.subject.weights, 0.0, f"{self.model}:{self.metric}", "tokens/s", self.predicted),
        ]


def predict(
    bundles: Sequence[Path], threads: int, repeats: int, large_bytes: float, report: Report
) -> list[Prediction]:
    """Every int8 and int4 weights of each bundle. Raises InvalidArgumentError for a bundle that has none."""
    found: list[Prediction] = []
    for index, bundle in enumerate(bundles):
        report("bundles", index, len(bundles))
        subjects = [subject for subject in select_subjects(list_subjects(bundle), []) if _predictable(subject)]
        if not subjects:
            raise InvalidArgumentError(f"{bundle} has no int8 or int4 weights, which are what the planner knows")
        before = measure(threads, _PAIRS)
        traces = [(s, c, _measure(bundle, s, c, threads, repeats)) for s in subjects for c in _cases_of(s, large_bytes)]
        probes = (before, measure(threads, _PAIRS))
        config = ModelConfig.from_json(BundleInfo.open(bundle).section("model"))
        found += [_compare(config, subject, case, probes, measured) for subject, case, measured in traces]
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


def _cases_of(subject: Subject, large_bytes: float) -> list[_Case]:
    return _cases(subject.weight_bytes > large_bytes)


def _measure(bundle: Path, subject: Subject, case: _Case, threads: int, repeats: int) -> list[Trace]:
    workload = case.workload
    options: dict[str, str | int] = {
        **subject.options,
        "threads": threads,
        "max_batch": workload.batch,
        "max_length": workload.length,
    }
    with WorkerProcess(subject.label) as worker:
        worker.open(subject.runtime, bundle, options)
        worker.run(Workload("warm", workload.batch, 16, 4), 0)
        return [worker.run(workload, 1 + repeat) for repeat in range(repeats)]


def _compare(
    config: ModelConfig, subject: Subject, case: _Case, probes: Sequence[Probe], traces: Sequence[Trace]
) -> Prediction:
    weights, activations = subject.weights.split("/")
    processors = [Processor(Geometry(config), probe, weights, activations) for probe in probes]
    workload = case.workload
    if case.metric.startswith("prefill"):
        seconds = [processor.prefill(workload.prompt_tokens) for processor in processors]
        measured = [workload.prompt_tokens / trace.first_token for trace in traces]
        tokens = workload.prompt_tokens
    else:
        context = workload.prompt_tokens + workload.new_tokens / 2
        seconds = [processor.decode(context, workload.batch) for processor in processors]
        measured = [decode_rate(trace) for trace in traces]
        tokens = workload.batch
    predicted = tokens / (sum(seconds) / len(seconds))
    return Prediction(config.name, subject, case.metric, (predicted,), tuple(measured))
