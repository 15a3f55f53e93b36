"""How sure a share of right answers is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Estimate", "mean_of_shares", "share"]

_Z = 1.959963984540054  # of 95 %


@dataclass(frozen=True)
class Estimate:
    """A value in [0, 1] with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def share(right: int, count: int) -> Estimate:
    """Of questions answered right, with Wilson's score interval (Wilson 1927)."""
    p, z2 = right / count, _Z * _Z
    middle = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z / (1 + z2 / count) * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count))
    low, high = (0.0 if right == 0 else middle - half), (1.0 if right == count else middle + half)
    return Estimate(p, low, high)


def mean_of_shares(counts: Sequence[tuple[int, int]]) -> Estimate:
    """The mean of several shares (right, count), each of the same weight, with the normal interval of that mean.

    The variance of each share is that of its adjusted estimate (right + 2) / (count + 4) (Agresti and Coull 1998),
    which does not vanish where all answers of a small subject are right or wrong.
    """
    value = sum(right / count for right, count in counts) / len(counts)
    variance = sum(_variance(right, count) for right, count in counts) / len(counts) ** 2
    half = _Z * math.sqrt(variance)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def _variance(right: int, count: int) -> float:
    p = (right + 2) / (count + 4)
    return p * (1 - p) / (count + 4)
