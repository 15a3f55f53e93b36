"""What the figures of one run say about each other: medians, over the repeats, of ratios within a repeat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from skywork_rt.bench.metrics import NEW_TOKENS, PROMPT_TOKENS, SEED_LENGTHS
from skywork_rt.bench.runner import Measurements
from skywork_rt.bench.stats import median_ratio, summarise
from skywork_rt.bench.subjects import LARGE_BYTES, LITE, NATIVE, PREDICT, RECIPE, Subject

__all__ = ["Finding", "find", "ratios"]

_RATIO_METRICS = (
    "prefill_512",
    "decode_b1",
    "decode_b4",
    "decode_b16",
    f"new_{SEED_LENGTHS[0]}",
    f"new_{SEED_LENGTHS[-1]}",
)


@dataclass(frozen=True)
class Finding:
    """One line for people: what was compared, the figure, and what it should be."""

    text: str
    value: str
    wanted: str = ""


def ratios(measurements: Measurements, metric: str, base: Subject) -> dict[Subject, float]:
    """Each subject's figure by the base's, where both were measured in every repeat."""
    below = measurements.of(base, metric)
    return {
        subject: median_ratio(samples, below)
        for subject in measurements.subjects
        if below and len(samples := measurements.of(subject, metric)) == len(below)
    }


def find(measurements: Measurements) -> list[Finding]:
    """Everything that this run allows to say."""
    by_runtime: dict[str, Subject] = {}
    for subject in measurements.subjects:
        by_runtime.setdefault(subject.runtime, subject)
    found: list[Finding] = []
    if LITE in by_runtime:
        ours = by_runtime[LITE]
        found += _loop_cost(measurements, ours, by_runtime.get(PREDICT))
        found += _gain(measurements, ours, by_runtime.get(RECIPE))
        found += _native_gain(measurements, ours)
    for subject in measurements.subjects:
        found += _short_answers(measurements, subject)
    return [*found, *_reach(measurements), *_memory(measurements)]


def _loop_cost(measurements: Measurements, ours: Subject, bare: Subject | None) -> Iterator[Finding]:
    if bare is None:
        return
    for metric in ("decode_b1", "decode_b4", "decode_b16"):
        ratio = ratios(measurements, metric, ours).get(bare)
        if ratio is not None:
            yield Finding(f"cost of our loop over bare Predict, {metric}", f"{100 * (ratio - 1):+.1f} %", "at most 3 %")


def _gain(measurements: Measurements, ours: Subject, recipe: Subject | None) -> Iterator[Finding]:
    if recipe is None:
        return
    for metric in _RATIO_METRICS:
        ratio = ratios(measurements, metric, recipe).get(ours)
        if ratio is not None:
            yield Finding(f"{ours.runtime} over the recipe's Python loop, {metric}", f"{ratio:.2f}x")


def _native_gain(measurements: Measurements, lite: Subject) -> Iterator[Finding]:
    wanted = {"int8/f32": {"decode_b1": 3.5}, "int4/f32": {"decode_b1": 3.0}}
    for metric in ("prefill_512", "decode_b1"):
        for subject, ratio in ratios(measurements, metric, lite).items():
            if subject.runtime != NATIVE:
                continue
            least = 1.0 if metric == "prefill_512" else wanted.get(subject.weights, {}).get(metric)
            yield Finding(
                f"{subject.label} over {lite.runtime}, {metric}",
                f"{ratio:.2f}x",
                f"at least {least:g}x" if least is not None and subject.weights.endswith("/f32") else "",
            )


def _short_answers(measurements: Measurements, subject: Subject) -> Iterator[Finding]:
    short, long = (measurements.of(subject, f"new_{length}") for length in (SEED_LENGTHS[0], SEED_LENGTHS[-1]))
    if short and len(short) == len(long):
        wanted = "at least 0.85" if subject.runtime == LITE else "published: Atlas 0.24, A100 0.45"
        text = f"{subject.label}: throughput at {SEED_LENGTHS[0]} new tokens by that at {SEED_LENGTHS[-1]}"
        yield Finding(text, f"{median_ratio(short, long):.2f}", wanted)


def _reach(measurements: Measurements) -> Iterator[Finding]:
    for subject, shares in measurements.shares.items():
        share = summarise(shares)
        text = f"{subject.label}: short decode by what reading {subject.weight_bytes / 1e6:.1f} MB of weights allows"
        large = subject.weight_bytes > LARGE_BYTES  # a small one spends its time between the matrices, too
        wanted = "at least 60 %" if large and subject.runtime == NATIVE and subject.weights.endswith("/f32") else ""
        yield Finding(text, f"{share.median:.0f} % ({share.min:.0f} … {share.max:.0f})", wanted)


def _memory(measurements: Measurements) -> Iterator[Finding]:
    """What a runtime holds beside its weights' file and the cache of the sequence that it computed."""
    for subject in measurements.subjects:
        peaks = measurements.of(subject, "peak_rss")
        if peaks and subject.file_bytes > 0:
            cache = subject.cache_bytes * (PROMPT_TOKENS + NEW_TOKENS)
            held = (subject.file_bytes + cache) / 2**20
            text = f"{subject.label}: peak_rss beside {held:.0f} MB of weights and cache"
            yield Finding(text, f"{summarise(peaks).median - held:.0f} MB", "at most 300 MB")
