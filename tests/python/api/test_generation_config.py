"""generation_config.json with any values gives parameters in range."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywork_rt import SamplingParams

READ = SamplingParams.from_generation_config


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"temperature": 0.0}, {"temperature": 0}),
        ({"temperature": -1}, {"temperature": 0}),
        ({"temperature": 0.6, "top_k": 20, "top_p": 0.95}, {"temperature": 0.6, "top_k": 20, "top_p": 0.95}),
        ({"top_p": 0.0}, {"top_k": 1}),
        ({"top_p": 0, "top_k": 50}, {"top_k": 1}),
        ({"top_p": 1.5}, {}),
        ({"top_k": 0}, {}),
        ({"top_k": -1}, {}),
        ({"top_k": 40.0}, {"top_k": 40}),
        ({"min_p": -0.1}, {}),
        ({"min_p": 2}, {"min_p": 1.0}),
        ({"typical_p": 0}, {}),
        ({"typical_p": 1.2}, {}),
        ({"typical_p": 0.9}, {"typical_p": 0.9}),
        ({"repetition_penalty": 1.05}, {"repetition_penalty": 1.05}),
        ({"max_new_tokens": 4096}, {"max_tokens": 4096}),
        ({"max_new_tokens": None, "do_sample": True, "unknown": [1]}, {}),
    ],
)
def test_values_mean_what_they_mean_elsewhere(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert READ(config) == SamplingParams(**expected)


@pytest.mark.parametrize(
    "config",
    [
        {"temperature": "hot"},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": 2.5},
        {"repetition_penalty": 0},
        {"repetition_penalty": -2.0},
        {"max_new_tokens": 0},
        {"max_new_tokens": True},
        {"top_p": [0.9]},
        {"min_p": 10**400},
    ],
)
def test_what_means_nothing_is_left_out_with_a_warning(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert READ(config) == SamplingParams()
    assert f"generation_config.json has {next(iter(config))} = " in caplog.text


ANY = st.one_of(st.floats(), st.integers(), st.booleans(), st.text(max_size=3), st.none(), st.lists(st.integers()))
KEYS = ["temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "max_new_tokens"]


@given(st.dictionaries(st.sampled_from(KEYS), ANY))
def test_no_value_is_an_error_of_the_users(config: dict[str, Any]) -> None:
    READ(config)
