"""What choosing a token costs, on one core: our sampler, and the recipe's chain of numpy calls, on the same logits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skywork_rt import _core
from skywork_rt.bench.recipe import RecipeConfig, choose_tokens
from skywork_rt.bench.rows import Row, make_row

__all__ = ["CASES", "SamplingCase", "measure_sampling"]

OURS = "skywork_rt:sampler"
RECIPE = "recipe:numpy"

_HISTORY = 512  # tokens that penalties look back on
_OUR_RUNS = 200
_RECIPE_RUNS = 20


@dataclass(frozen=True)
class SamplingCase:
    """One set of parameters, in our names and in the recipe's."""

    metric: str
    ours: Mapping[str, Any]
    recipe: RecipeConfig
    wanted: float
    """Microseconds a row, at most, at a vocabulary of 65519."""


CASES = (
    SamplingCase("sample_greedy", {"temperature": 0.0}, RecipeConfig(), 15.0),
    SamplingCase(
        "sample_mixed",
        {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1, "seed": 1},
        RecipeConfig(do_sample=True, temperature=0.8, top_k=50, top_p=0.9, repetition_penalty=1.1),
        100.0,
    ),
)


def measure_sampling(vocab_size: int, repeats: int) -> list[Row]:
    """Microseconds a row of each case, ours and the recipe's in turns."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, vocab_size).astype(np.float32)
    history = generator.integers(0, vocab_size, _HISTORY, dtype=np.int32)
    rows = []
    for case in CASES:
        ours: list[float] = []
        recipe: list[float] = []
        for _ in range(repeats):
            seconds = _core.bench.time_sampling(dict(case.ours), logits, history, _OUR_RUNS)
            ours.append(1e6 * float(np.median(seconds)))
            recipe.append(1e6 * _time_recipe(case, logits, history))
        rows.append(make_row(OURS, "none", 0.0, case.metric, "us", ours))
        rows.append(make_row(RECIPE, "none", 0.0, case.metric, "us", recipe))
    return rows


def _time_recipe(case: SamplingCase, logits: np.ndarray[Any, Any], history: np.ndarray[Any, Any]) -> float:
    """Median seconds of one row, its thread included, the copy of the logits not."""
    lengths = np.array([len(history)], np.int64)
    seconds = []
    for _ in range(_RECIPE_RUNS):
        row = logits[None].copy()
        started = time.perf_counter()
        choose_tokens(row, history[None], lengths, case.recipe)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))
