"""Rotary frequencies against transformers' own (golden/rope.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skywork_rt.checkpoints.rope import divided, make_rope, scaled_length
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
    rope = make_rope("default", theta, head_dim, 8192)
    factors = np.array(rope.inverse_frequencies, np.float32) / np.array(case["inverse_frequencies"], np.float32)
    found = np.array(divided(rope, factors, "rope_freqs", "llama3").inverse_frequencies)
    np.testing.assert_allclose(found, case["inverse_frequencies"], rtol=2e-7)


LONGROPE = {"original_max_position_embeddings": 64, "short_factor": [1.0, 1.5], "long_factor": [2.0, 8.0]}


@pytest.mark.parametrize(
    ("length", "factors", "attention"),
    [(64, [1.0, 1.5], 1.2909944), (65, [2.0, 8.0], 1.2909944), (None, [2.0, 8.0], 1.2909944)],
)
@pytest.mark.parametrize("name", ["longrope", "su"])
def test_longrope_takes_the_factors_of_its_longest_sequence(
    name: str, length: int | None, factors: list[float], attention: float
) -> None:
    rope = make_rope(name, 10000.0, 4, 1024, LONGROPE, length)
    np.testing.assert_allclose(rope.inverse_frequencies, [1 / factors[0], 0.01 / factors[1]], rtol=2e-7)
    # sqrt(1 + ln(1024 / 64) / ln(64))
    assert rope.attention_factor == pytest.approx(attention, rel=1e-6)
    assert rope.type == "longrope"


def test_longropes_stated_attention_factor_counts_and_else_its_factor_where_the_lengths_are_equal() -> None:
    assert make_rope("longrope", 1e4, 4, 1024, {**LONGROPE, "attention_factor": 1.25}).attention_factor == 1.25
    same = {**LONGROPE, "original_max_position_embeddings": 1024}
    assert make_rope("longrope", 1e4, 4, 1024, same).attention_factor == 1.0
    assert make_rope("longrope", 1e4, 4, 1024, {**same, "factor": 4.0}).attention_factor == pytest.approx(1.0954451)


@pytest.mark.parametrize(
    ("rope_type", "parameters", "expected"),
    [
        ("default", {}, 256),
        ("linear", {"factor": 4.0}, 1024),
        ("linear", {"factor": 2.5}, 640),
        ("linear", {"factor": 0.5}, 256),  # never less than the model states
        ("yarn", {"factor": 4.0, "original_max_position_embeddings": 256}, 1024),  # Qwen's recipe
        ("yarn", {"factor": 4.0, "original_max_position_embeddings": 64}, 256),  # stated already
        ("yarn", {"factor": 4.0}, 1024),
        ("longrope", {**LONGROPE, "factor": 2.0}, 256),
        ("longrope", {**LONGROPE, "factor": 8.0}, 512),
        ("su", {**LONGROPE, "factor": 8.0}, 512),
        ("llama3", {"factor": 8.0, "original_max_position_embeddings": 64}, 256),
        ("dynamic", {"factor": 4.0}, 256),
        ("dynamic", {"factor": 4.0, "original_max_position_embeddings": 64}, 64),
    ],
)
def test_scaling_reaches_the_original_length_times_its_factor(
    rope_type: str, parameters: dict[str, Any], expected: int
) -> None:
    assert scaled_length(rope_type, 256, parameters) == expected


@pytest.mark.parametrize("rope_type", ["ntk", "mrope", "proportional"])
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
        ("longrope", {"long_factor": [1.0] * 32}, "lacks 'short_factor'"),
        ("longrope", {"short_factor": [1.0] * 31}, "it must be a list of head_dim / 2 = 32 positive numbers"),
        ("longrope", {"short_factor": [1.0] * 31 + [0]}, "32 positive numbers"),
        ("longrope", {"short_factor": 1.0}, "short_factor = 1.0; it must be a list"),
        (
            "longrope",
            {"long_factor": [1.0] * 32, "original_max_position_embeddings": 1},
            "an original length of 1.0; it must be more than 1",
        ),
    ],
)
def test_impossible_parameters_are_named(rope_type: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        make_rope(rope_type, 10000.0, 64, 4096, parameters)


def test_yarn_needs_a_base_whose_logarithm_is_positive() -> None:
    with pytest.raises(CheckpointError, match=r"'yarn' has rope_theta 1\.0; it must be more than 1"):
        make_rope("yarn", 1.0, 64, 4096, {"factor": 4.0})


@pytest.mark.parametrize("theta", [0.0, -1.0, float("nan"), float("inf")])
def test_theta_must_be_positive(theta: float) -> None:
    with pytest.raises(CheckpointError, match="theta"):
        make_rope("default", theta, 64, 4096)
