"""SamplingParams: every wrong value is refused when the object is made, with its name, value and range."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from skywork_rt import InvalidArgumentError, SamplingParams, _core

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0), ("max_tokens", -1), ("max_tokens", 1.5), ("max_tokens", "8"), ("max_tokens", True),
        ("max_tokens", 2**31), ("min_tokens", -1), ("min_tokens", 300), ("temperature", -1), ("temperature", -0.001),
        ("temperature", NAN), ("temperature", INF), ("temperature", "hot"), ("temperature", None),
        ("temperature", True), ("top_k", -2), ("top_k", 1.0), ("top_k", True), ("top_p", 0), ("top_p", -0.1),
        ("top_p", 1.0001), ("top_p", 5), ("top_p", NAN), ("min_p", -0.1), ("min_p", 1.1), ("min_p", NAN),
        ("typical_p", 0), ("typical_p", 1.5), ("repetition_penalty", 0), ("repetition_penalty", -1),
        ("repetition_penalty", INF), ("presence_penalty", 2.1), ("presence_penalty", NAN),
        ("frequency_penalty", -2.1), ("no_repeat_ngram_size", -1), ("n", 0), ("n", -1), ("n", True), ("seed", -1),
        ("seed", 2**64), ("seed", 1.0), ("seed", True), ("logprobs", -1), ("logprobs", 1.5), ("prompt_logprobs", -1),
        ("num_beams", 0), ("length_penalty", NAN), ("early_stopping", 1), ("ignore_eos", "yes"), ("ignore_eos", 1),
        ("skip_special_tokens", None), ("stop", 5), ("stop", [5]), ("stop", ""), ("stop", ["a", ""]),
        ("stop", "\ud800"), ("stop_token_ids", [-1]), ("stop_token_ids", 3), ("stop_token_ids", [1.0]),
        ("stop_token_ids", [True]),
        ("logprob_token_ids", [-1]), ("logprob_token_ids", 3),
        ("logit_bias", {-1: 1.0}), ("logit_bias", {1: NAN}), ("logit_bias", {1: "x"}),
        ("logit_bias", {"1": 1.0}), ("logit_bias", [1]), ("bad_words_ids", [[]]), ("bad_words_ids", [5]),
        ("bad_words_ids", [[-1]]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=field):
        SamplingParams(**{field: value})


def test_message_has_value_and_range() -> None:
    with pytest.raises(InvalidArgumentError, match=r"top_p.*1\.5.*\(0, 1\]"):
        SamplingParams(top_p=1.5)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("temprature", "temperature"), ("topp", "top_p"), ("max_new_tokens", "max_tokens"), ("stops", "stop")],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, nearest: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"'{name}'; did you mean '{nearest}'"):
        SamplingParams(**{name: 1})
    with pytest.raises(InvalidArgumentError, match=f"did you mean '{nearest}'"):
        SamplingParams().replace(**{name: 1})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", None), ("max_tokens", np.int32(5)), ("temperature", 0), ("temperature", np.float32(0.5)),
        ("temperature", np.float64(0.5)), ("temperature", np.int64(1)), ("top_k", -1), ("top_k", np.int8(3)),
        ("top_p", 1), ("ignore_eos", np.bool_(True)), ("seed", 2**64 - 1), ("seed", np.uint64(2**63)),
        ("stop", "x"), ("stop", ["x", "谢"]), ("stop", ("x",)), ("stop_token_ids", np.array([3, 4])),
        ("logprob_token_ids", np.array([3, 4])),
        ("logit_bias", {3: -100.0}), ("logit_bias", {np.int64(3): 1}), ("bad_words_ids", [[3, 4], [5]]), ("n", 3),
        ("logprobs", 0), ("prompt_logprobs", 5),
    ],
)  # fmt: skip
def test_good_values_of_numpy_and_python_are_taken(field: str, value: Any) -> None:
    assert getattr(SamplingParams(**{field: value}), field) is value


def test_beam_search_needs_greedy_and_room_for_n() -> None:
    SamplingParams(temperature=0, num_beams=4, n=4)
    with pytest.raises(InvalidArgumentError, match="num_beams"):
        SamplingParams(temperature=0.5, num_beams=4)
    with pytest.raises(InvalidArgumentError, match="num_beams"):
        SamplingParams(temperature=0, num_beams=2, n=3)


def test_every_field_is_known_to_the_core() -> None:
    """Python's names and C++'s are one list, and Python's defaults are valid there."""
    lists = ("bad_words_ids", "stop", "stop_token_ids", "logprob_token_ids", "shown_special_token_ids")
    params = SamplingParams(logit_bias={}, **{name: [] for name in lists})  # type: ignore[arg-type]
    ours = {field.name for field in dataclasses.fields(SamplingParams)}
    assert set(params.to_core()) == ours - {"grammar"}, "which goes to the core compiled"
    _core.validate_sampling_params(params.to_core())
    with pytest.raises(InvalidArgumentError, match="there is no option 'best_of'"):
        _core.validate_sampling_params({"best_of": 3})


def test_params_cannot_change_after_they_were_checked() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SamplingParams().temperature = 3  # type: ignore[misc]


def test_token_ids_are_bounded_by_the_vocabulary() -> None:
    with pytest.raises(InvalidArgumentError, match=r"stop_token_ids.*512"):
        _core.validate_sampling_params({"stop_token_ids": [512]}, 512)
    with pytest.raises(InvalidArgumentError, match=r"logit_bias.*600"):
        _core.validate_sampling_params({"logit_bias": {600: 1.0}}, 512)
    _core.validate_sampling_params({"stop_token_ids": [511]}, 512)


def test_generation_config_gives_defaults_as_in_vllm() -> None:
    config = {"temperature": 0.6, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1, "max_new_tokens": 32,
              "do_sample": False, "eos_token_id": [1, 2], "num_beams": 4}  # fmt: skip
    params = SamplingParams.from_generation_config(config)
    assert params == SamplingParams(temperature=0.6, top_p=0.9, top_k=40, repetition_penalty=1.1, max_tokens=32)
    assert SamplingParams.from_generation_config({}) == SamplingParams()
