"""What a step costs beside its backend, a row of logits: nothing of a model, so no bundle."""

from __future__ import annotations

from collections.abc import Sequence

from skywork_rt import _core
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.stats import summarise

__all__ = ["WIDTHS", "comparisons", "measure_host"]

WIDTHS = (1, 16, 256, 1000)
"""Sequences that decode side by side."""

HOST = "skywork_rt:engine"
ARGMAX = "argmax"

_WANTED = 3.0  # microseconds a row, at most, beside the argmax
_STEPS = 100
_LOGITS = 1 << 29  # of all rows and steps of one repeat, at most: about a second


def measure_host(vocab_size: int, threads: int, repeats: int) -> list[Row]:
    """Microseconds a row and step of greedy requests: what lies between two calls of a backend that computes nothing,
    the argmax of the same rows by itself, and what is left. Each repeat's figure is its median step's."""
    rows = []
    for width in WIDTHS:
        host: list[float] = []
        argmax: list[float] = []
        steps = max(8, min(_STEPS, _LOGITS // (width * vocab_size)))
        for _ in range(repeats):
            of_host, of_argmax = _core.bench.time_host(width, vocab_size, steps, threads)
            host.append(1e6 * summarise(of_host).median)
            argmax.append(1e6 * summarise(of_argmax).median)
        beside = [a - b for a, b in zip(host, argmax, strict=True)]
        rows.append(make_row(HOST, "none", 0.0, f"host_row_{width}", "us", host))
        rows.append(make_row(ARGMAX, "none", 0.0, f"host_row_{width}", "us", argmax))
        rows.append(make_row(HOST, "none", 0.0, f"host_beside_argmax_{width}", "us", beside))
    return rows


def comparisons(rows: Sequence[Row]) -> list[str]:
    """A sentence for each width."""
    beside = {row.metric: row.median for row in rows if row.runtime == HOST}
    return [
        f"{width} rows: {beside[f'host_beside_argmax_{width}']:.2f} us a row beside the argmax "
        f"(wanted: at most {_WANTED:g})"
        for width in WIDTHS
    ]
