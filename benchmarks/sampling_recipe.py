"""What choosing a token costs: this project's sampler beside the host code of the recipe that it replaces.

The recipe (MindFormers' Lite inference) copies the logits to the host and processes every row in numpy: repetition
penalty, temperature, top_k, top_p over the best 200, softmax, choice. The chain here does the same in its own words.
Both are timed in the same run, one row at a time, on one thread, in processor time: other processes matter less.

    python benchmarks/sampling_recipe.py --program build/release/csrc/apps/bench_sampling [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VOCAB = 65519
HISTORY = 512
TOP_P_LOOKS_AT = 200

Row = NDArray[np.float32]


def penalized(logits: Row, history: NDArray[np.int64], penalty: float) -> Row:
    """CTRL's repetition penalty, once a distinct token."""
    row = logits.copy()
    seen = row[history]
    row[history] = np.where(seen < 0, seen * penalty, seen / penalty)
    return row


def softmax(row: Row) -> NDArray[np.float64]:
    weights = np.exp(row.astype(np.float64) - row.max())
    return np.asarray(weights / weights.sum())


def recipe_greedy(logits: Row, _history: NDArray[np.int64], _generator: np.random.Generator) -> int:
    """The recipe takes probabilities even where it then wants the best only."""
    return int(np.argmax(softmax(logits)))


def recipe_sampled(logits: Row, history: NDArray[np.int64], generator: np.random.Generator) -> int:
    """top_k 50, top_p 0.9, temperature 0.8, repetition penalty 1.1."""
    row = penalized(logits, history, 1.1) / np.float32(0.8)
    row[row < np.partition(row, -50)[-50]] = -np.inf
    best = np.argpartition(row, -TOP_P_LOOKS_AT)[-TOP_P_LOOKS_AT:]
    best = best[np.argsort(row[best])[::-1]]
    probabilities = softmax(row[best])
    kept = np.concatenate(([True], np.cumsum(probabilities)[:-1] < 0.9))
    row[best[~kept]] = -np.inf
    return int(generator.choice(row.size, p=softmax(row)))


def microseconds(choose: Callable[[Row, NDArray[np.int64], np.random.Generator], int]) -> list[float]:
    generator = np.random.default_rng(1)
    rows = generator.normal(0, 3, size=(4, VOCAB)).astype(np.float32)
    history = generator.integers(0, VOCAB, size=HISTORY)
    times = []
    for step in range(120):
        start = time.thread_time()
        choose(rows[step % 4], history, generator)
        times.append((time.thread_time() - start) * 1e6)
    return times[20:]


def ours(program: Path) -> dict[str, list[float]]:
    """Microseconds of each repetition of each benchmark of the C++ program."""
    command = [str(program), "--benchmark_format=json", "--benchmark_repetitions=5", "--benchmark_min_time=0.1"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    times: dict[str, list[float]] = {}
    for item in report["benchmarks"]:
        if item["run_type"] == "iteration":
            times.setdefault(item["run_name"], []).append(float(item["cpu_time"]))
    return times


def bench_row(runtime: str, metric: str, times: list[float]) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "metric": metric,
        "unit": "us",
        "median": statistics.median(times),
        "min": min(times),
        "max": max(times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True, help="the built bench_sampling")
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()

    recipe = {"greedy": microseconds(recipe_greedy), "k50_p0.9_t0.8_r1.1": microseconds(recipe_sampled)}
    rows = []
    print(f"microseconds a row, vocabulary {VOCAB}, one thread\n")
    print("| sampler | skywork_rt | recipe:numpy | ratio |\n|---|---|---|---|")
    for name, times in ours(arguments.program).items():
        rows.append(bench_row("skywork_rt", f"sample_{name}", times))
        if name not in recipe:
            print(f"| {name} | {rows[-1]['median']:.1f} | | |")
            continue
        rows.append(bench_row("recipe:numpy", f"sample_{name}", recipe[name]))
        own, theirs = rows[-2]["median"], rows[-1]["median"]
        print(f"| {name} | {own:.1f} | {theirs:.0f} | {theirs / own:.0f}x |")
    if arguments.json:
        machine = {"cpus": os.cpu_count(), "vocabulary": VOCAB}
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
