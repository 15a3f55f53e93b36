"""Every metric of `skywork-rt bench`: its unit, the workload that yields it, and how it is read off the clock."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from skywork_rt.bench.stats import percentile
from skywork_rt.bench.workloads import Trace, Workload
from skywork_rt.errors import InvalidArgumentError

__all__ = [
    "METRICS",
    "NEW_TOKENS",
    "PROMPT_TOKENS",
    "SEED_BATCH",
    "SEED_LENGTHS",
    "SHORT",
    "Metric",
    "decode_rate",
    "metrics_of",
    "select_metrics",
    "workloads_of",
]

PROMPT_TOKENS = 512
NEW_TOKENS = 128
SEED_LENGTHS = (32, 64, 128, 256, 512, 1024)
SEED_BATCH = 2
SHORT = Workload("short", 1, 16, 17)
"""Decoding while next to nothing is cached: what is read then is the weights."""
SEED_PROMPT_TOKENS = 32
"""The published table's prompt, three provinces and their capitals, is about this long."""


@dataclass(frozen=True)
class Metric:
    """`read` takes the value off a run of `workload`; the metrics without a workload belong to opening a bundle."""

    name: str
    unit: str
    higher_is_better: bool
    workload: Workload | None = None
    read: Callable[[Trace], float] | None = None


def decode_rate(trace: Trace) -> float:
    """Tokens a second behind the first."""
    return trace.decoded / (trace.total - trace.first_token)


def _solo_metrics() -> list[Metric]:
    solo = Workload("b1", 1, PROMPT_TOKENS, NEW_TOKENS)
    return [
        Metric("prefill_512", "tokens/s", True, solo, lambda trace: PROMPT_TOKENS / trace.first_token),
        Metric("decode_b1", "tokens/s", True, solo, decode_rate),
        Metric("ttft_512", "ms", False, solo, lambda trace: 1e3 * trace.first_token),
        Metric("tpot_p50", "ms", False, solo, lambda trace: 1e3 * percentile(trace.gaps, 50)),
        Metric("tpot_p90", "ms", False, solo, lambda trace: 1e3 * percentile(trace.gaps, 90)),
    ]


def _batch_metric(batch: int) -> Metric:
    return Metric(
        f"decode_b{batch}", "tokens/s", True, Workload(f"b{batch}", batch, PROMPT_TOKENS, NEW_TOKENS), decode_rate
    )


def _seed_metric(length: int) -> Metric:
    workload = Workload(f"new_{length}", SEED_BATCH, SEED_PROMPT_TOKENS, length)
    return Metric(workload.name, "tokens/s", True, workload, lambda trace: trace.generated / trace.total)


METRICS: tuple[Metric, ...] = (
    Metric("load", "s", False),
    Metric("peak_rss", "MB", False),
    *_solo_metrics(),
    _batch_metric(4),
    _batch_metric(16),
    *(_seed_metric(length) for length in SEED_LENGTHS),
)


def select_metrics(patterns: Sequence[str]) -> list[Metric]:
    """The metrics whose names match any of the shell patterns (`decode_*`), in the table's order; all for none.

    Raises InvalidArgumentError for a pattern that matches nothing.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(metric.name, pattern) for metric in METRICS):
            names = ", ".join(metric.name for metric in METRICS)
            raise InvalidArgumentError(f"no metric matches {pattern!r}; there are {names}")
    if not patterns:
        return list(METRICS)
    return [metric for metric in METRICS if any(fnmatch.fnmatchcase(metric.name, pattern) for pattern in patterns)]


def workloads_of(metrics: Sequence[Metric]) -> list[Workload]:
    """What must run to yield `metrics`, each workload once."""
    return list(dict.fromkeys(metric.workload for metric in metrics if metric.workload is not None))


def metrics_of(metrics: Sequence[Metric], workload: Workload) -> list[Metric]:
    """Those of `metrics` that a run of `workload` yields."""
    return [metric for metric in metrics if metric.workload == workload]
