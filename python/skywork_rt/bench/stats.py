"""The few statistics that a benchmark row needs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Summary", "median_ratio", "number", "percentile", "summarise"]


@dataclass(frozen=True)
class Summary:
    """Median and range of repeated measurements of one thing."""

    median: float
    min: float
    max: float


def summarise(samples: Sequence[float]) -> Summary:
    """Raises ValueError for no samples and for one that is not finite: no such number may reach a table."""
    if not samples:
        raise ValueError("there are no samples to summarise")
    if not all(math.isfinite(sample) for sample in samples):
        raise ValueError(f"a sample is not finite: {list(samples)}")
    return Summary(statistics.median(samples), min(samples), max(samples))


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the least sample that at least `percent` % of all samples do not exceed."""
    if not samples:
        raise ValueError("there are no samples to take a percentile of")
    if not 0 < percent <= 100:
        raise ValueError(f"percent is {percent}, but must be in (0, 100]")
    return sorted(samples)[math.ceil(percent / 100 * len(samples)) - 1]


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median over repeats of one runtime's figure by another's.

    Two runtimes that take turns feel the same mood of the machine in each repeat, so their ratio is steadier than the
    ratio of their medians.
    """
    if len(numerators) != len(denominators):
        raise ValueError(f"{len(numerators)} repeats cannot be compared with {len(denominators)}")
    return summarise([a / b for a, b in zip(numerators, denominators, strict=True)]).median


def number(value: float) -> str:
    """Three significant digits or more, without an exponent."""
    digits_before = math.floor(math.log10(value)) + 1 if value > 0 else 1
    return f"{value:.{max(0, 3 - digits_before)}f}"
