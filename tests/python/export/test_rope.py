"""Rotary frequencies against transformers' own (golden/rope.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skywork_rt.checkpoints.rope import make_rope, rope_from_factors
from skywork_rt.errors import CheckpointError, UnsupportedError

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("rope.json").read_text())["cases"]


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_frequencies_equal_transformers_to_the_last_bit_but_one(case: dict[str, Any]) -> None:
    given = case["parameters"]
    rope = make_rope(given["rope_type"], given["rope_theta"], case["head_dim"], case["max_positions"], given)
    ours = np.array(rope.inverse_frequencies, np.float32).view(np.int32)
    theirs = np.array(case["inverse_frequencies"], np.float32).view(np.int32)
    assert np.abs(ours - theirs).max() <= 1
    assert rope.attention_factor == np.float32(case["attention_factor"])


def test_factors_of_a_gguf_file_give_llama3_frequencies() -> None:
    case = next(case for case in GOLDEN if case["name"] == "llama3")
    theta, head_dim = case["parameters"]["rope_theta"], case["head_dim"]
    plain = np.array(make_rope("default", theta, head_dim, 8192).inverse_frequencies, np.float32)
    factors = plain / np.array(case["inverse_frequencies"], np.float32)
    found = np.array(rope_from_factors(theta, head_dim, factors).inverse_frequencies)
    np.testing.assert_allclose(found, case["inverse_frequencies"], rtol=2e-7)


@pytest.mark.parametrize("rope_type", ["longrope", "su", "ntk", "mrope", "proportional"])
def test_unknown_scaling_is_refused_by_name(rope_type: str) -> None:
    with pytest.raises(UnsupportedError, match=f"'{rope_type}' is not supported; known are default, linear"):
        make_rope(rope_type, 10000.0, 64, 4096)


@pytest.mark.parametrize(
    ("rope_type", "parameters", "message"),
    [
        ("linear", {}, "lacks 'factor'"),
        ("linear", {"factor": -2}, "factor = -2; it must be a positive number"),
        ("linear", {"factor": "2"}, "factor = '2'"),
        ("llama3", {"factor": 8.0, "low_freq_factor": 1.0}, "lacks 'high_freq_factor'"),
        ("llama3", {"factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}, "4.0 not below"),
        ("yarn", {"factor": float("nan")}, "factor = nan"),
    ],
)
def test_impossible_parameters_are_named(rope_type: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        make_rope(rope_type, 10000.0, 64, 4096, parameters)


@pytest.mark.parametrize("theta", [0.0, -1.0, float("nan"), float("inf")])
def test_theta_must_be_positive(theta: float) -> None:
    with pytest.raises(CheckpointError, match="theta"):
        make_rope("default", theta, 64, 4096)
