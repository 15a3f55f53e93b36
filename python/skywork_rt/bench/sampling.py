"""What choosing a token costs, on one core: our sampler, and the recipe's chain of numpy calls, on the same logits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt import _core
from skywork_rt.bench.recipe import RecipeConfig, choose_tokens
from skywork_rt.bench.rows import Row, make_row

__all__ = ["CASES", "SamplingCase", "comparisons", "measure_sampling"]

OURS = "skywork_rt:sampler"
RECIPE = "recipe:numpy"

MODEL = 3.0
"""Standard deviation of logits as a language model gives them."""
FLAT = 0.01
"""Of logits that leave nearly all tokens equally likely: the worst that a cut can meet."""

_HISTORY = 512  # tokens that penalties look back on
_LOGITS = 4  # rows in turns, so that no branch learns one
_DRAWS = 8  # seeds: how far a sampler walks depends on what it draws
_OUR_RUNS = 25  # of each draw
_RECIPE_RUNS = 20


@dataclass(frozen=True)
class SamplingCase:
    """One set of parameters, in our names and in the recipe's."""

    metric: str
    ours: Mapping[str, Any]
    spread: float = MODEL
    """Standard deviation of the logits."""
    recipe: RecipeConfig | None = None
    """None: the recipe is not measured here."""
    wanted: float | None = None
    """Microseconds a row, at most, at a vocabulary of 65519, where the recipe is measured too."""


CASES = (
    SamplingCase("sample_greedy", {"temperature": 0.0}, recipe=RecipeConfig(), wanted=15.0),
    SamplingCase(
        "sample_mixed",
        {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1},
        recipe=RecipeConfig(do_sample=True, temperature=0.8, top_k=50, top_p=0.9, repetition_penalty=1.1),
        wanted=100.0,
    ),
    SamplingCase("sample_greedy_logprobs5", {"temperature": 0.0, "logprobs": 5}),
    SamplingCase("sample_temperature", {"temperature": 0.8}),
    SamplingCase("sample_temperature_flat", {"temperature": 0.8}, FLAT),
    SamplingCase("sample_top_p", {"top_p": 0.9}),
    SamplingCase("sample_top_p_flat", {"top_p": 0.9}, FLAT),
    SamplingCase("sample_min_p", {"min_p": 0.05}),
    SamplingCase("sample_min_p_flat", {"min_p": 0.05}, FLAT),
    SamplingCase("sample_typical_p", {"typical_p": 0.9}),
    SamplingCase("sample_typical_p_flat", {"typical_p": 0.9}, FLAT),
)


def measure_sampling(vocab_size: int, repeats: int) -> list[Row]:
    """Microseconds a row of each case; where the recipe has it too, ours and the recipe's in turns."""
    generator = np.random.default_rng(0)
    normal = generator.normal(0, 1, (_LOGITS, vocab_size)).astype(np.float32)
    history = generator.integers(0, vocab_size, _HISTORY, dtype=np.int32)
    rows = []
    for case in CASES:
        logits = normal * np.float32(case.spread)
        ours: list[float] = []
        recipe: list[float] = []
        for _ in range(repeats):
            ours.append(1e6 * _time_ours(case.ours, logits, history))
            if case.recipe is not None:
                recipe.append(1e6 * _time_recipe(case.recipe, logits, history))
        rows.append(make_row(OURS, "none", 0.0, case.metric, "us", ours))
        if recipe:
            rows.append(make_row(RECIPE, "none", 0.0, case.metric, "us", recipe))
    return rows


def comparisons(rows: Sequence[Row]) -> list[str]:
    """A sentence for each case of which something is wanted: ours, what is wanted, and how many times the recipe's."""
    medians = {(row.runtime, row.metric): row.median for row in rows}
    sentences = []
    for case in CASES:
        if case.wanted is not None:
            ours, recipe = medians[OURS, case.metric], medians[RECIPE, case.metric]
            wanted = f"wanted: at most {case.wanted:g}"
            sentences.append(f"{case.metric}: {ours:.1f} us a row ({wanted}), {recipe / ours:.0f}x the recipe")
    return sentences


def _time_ours(params: Mapping[str, Any], logits: NDArray[np.float32], history: NDArray[np.int32]) -> float:
    """Median seconds of one row."""
    seconds: list[float] = []
    for draw in range(_DRAWS):
        row = logits[draw % _LOGITS]
        seconds += _core.bench.time_sampling({**params, "seed": draw}, row, history, _OUR_RUNS)
    return float(np.median(seconds))


def _time_recipe(config: RecipeConfig, logits: NDArray[np.float32], history: NDArray[np.int32]) -> float:
    """Median seconds of one row, its thread included, the copy of the logits not."""
    lengths = np.array([len(history)], np.int64)
    seconds = []
    for run in range(_RECIPE_RUNS):
        row = logits[run % _LOGITS][None].copy()
        started = time.perf_counter()
        choose_tokens(row, history[None], lengths, config)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))
