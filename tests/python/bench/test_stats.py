from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywork_rt.bench.stats import Summary, median_ratio, percentile, summarise

positive = st.floats(1e-3, 1e3)


@given(st.lists(positive, min_size=1))
def test_a_summary_is_the_median_and_the_range(samples: list[float]) -> None:
    assert summarise(samples) == Summary(float(np.median(samples)), min(samples), max(samples))


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf]])
def test_no_summary_of_nothing_or_of_what_is_not_finite(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="sample"):
        summarise(samples)


@given(st.lists(positive, min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_the_nearest_rank(samples: list[float], percent: float) -> None:
    found = percentile(samples, percent)
    below = sum(sample <= found for sample in samples)
    assert found in samples
    assert below >= percent / 100 * len(samples) - 1e-9
    smaller = [sample for sample in samples if sample < found]
    assert len(smaller) < percent / 100 * len(samples)


def test_percentiles_of_a_known_list() -> None:
    samples = [float(i) for i in range(1, 101)]
    assert [percentile(samples, p) for p in (50, 90, 99, 100)] == [50, 90, 99, 100]


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_a_percentile_outside_of_its_range_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        percentile([1.0], percent)


def test_ratios_are_taken_within_a_repeat() -> None:
    # The machine was twice as fast in the second repeat, for both.
    assert median_ratio([10.0, 20.0, 10.0], [5.0, 10.0, 5.0]) == 2.0


def test_ratios_of_different_numbers_of_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="2 repeats cannot be compared with 1"):
        median_ratio([1.0, 2.0], [1.0])
