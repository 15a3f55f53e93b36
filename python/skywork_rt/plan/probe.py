"""What this processor's memory and kernels do, measured without a model.

The figures are of the native backend's own kernels on random weights: how fast weights are read once a token, by how
many bytes a model has; how long a multiply-add takes when several tokens share the reading; what packing activations,
attention and a parallel region cost. `processor.py` predicts with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["SIZES", "Probe", "Products", "between", "measure"]

TOKENS = (1, 2, 4, 8, 16, 32, 96)
"""Tokens that share the reading of weights; between them costs are interpolated."""
_HOT = 1 << 24  # bytes that stay in a cache, so that arithmetic alone counts
SIZES = tuple(megabytes << 20 for megabytes in (16, 32, 64, 80, 96, 112, 128, 160, 192, 256, 512, 1024, 1152))
"""Bytes that a step may read, from what a cache holds to what none does; many where last caches end. Files of more than
1024 MB are mapped, not copied into huge pages, and are read at the rate of the last size."""
_ROWS, _COLS = 2048, 4096
_FEW_ROWS = 128
_REGIONS = 2  # of a product that is probed: packing and multiplying


@dataclass(frozen=True)
class Products:
    """Of one type of weights and one of activations, for `threads` together."""

    read: Mapping[int, float]
    """Bytes of different weights that a token reads → bytes a second."""
    multiply: Mapping[int, float]
    """Tokens → seconds a multiply-add, weights in a cache."""
    pack: Mapping[int, float]
    """Tokens → seconds an activation and product, to bring it into the kernels' form."""


@dataclass(frozen=True)
class Probe:
    """All times are seconds."""

    threads: int
    stream: float
    """Bytes a second that plain reading gets."""
    region: float
    """A parallel region in which nothing is to be done."""
    cache_read: Mapping[int, float]
    """Bytes that a step reads → bytes of keys and values, float32, a second."""
    attend: float
    """A query times a position times a dimension, scores and values, where many queries share the reading."""
    products: Mapping[tuple[str, str], Products] = field(default_factory=dict)
    """(weights, activations) → what their products cost."""


def measure(
    threads: int,
    pairs: Sequence[tuple[str, str]],
    report: Callable[[int, int], None] | None = None,
    sizes: Sequence[int] = SIZES,
) -> Probe:
    """Probes `threads` threads for some (weights, activations), such as ("int4", "f32"); about 4 s a pair.

    report(done, total) is called after each part.
    """
    from skywork_rt import _core

    bench = _core.bench
    total = len(pairs) + 1
    stream = bench.measure_memory_stream(threads, 1 << 29, 4)
    region = bench.time_region(threads)
    cache_read = _falling({size: _cache_read(size, threads) for size in sizes})
    shared, _, positions = bench.time_attention(128, 24, threads, 1 << 24, 3)
    if report is not None:
        report(1, total)
    products = {}
    for done, (weights, activations) in enumerate(pairs):
        products[weights, activations] = _products(weights, activations == "int8", threads, region, sizes)
        if report is not None:
            report(done + 2, total)
    return Probe(threads, stream, region, cache_read, shared / (positions * 128), products)


def _cache_read(size: int, threads: int) -> float:
    from skywork_rt import _core

    seconds, bytes_read, _ = _core.bench.time_attention(128, 1, threads, size, _passes(size))
    return float(bytes_read / seconds)


def _passes(size: int) -> int:
    """Small sets take more of them in the same time, and need more, as other programs push them out of caches."""
    return max(4, min(16, (1 << 30) // size))


def _falling(rates: Mapping[int, float]) -> dict[int, float]:
    """What a larger set gets, a smaller one gets too: a lower rate is another program's moment, not the processor's."""
    found: dict[int, float] = {}
    best = 0.0
    for size in sorted(rates, reverse=True):
        best = max(best, rates[size])
        found[size] = best
    return found


def _products(weights: str, int8: bool, threads: int, region: float, sizes: Sequence[int]) -> Products:
    from skywork_rt import _core

    read = {}
    for size in sizes:
        passes = _passes(size)
        seconds, bytes_read, _ = _core.bench.time_products(weights, int8, _ROWS, _COLS, 1, threads, size, passes)
        read[size] = bytes_read / seconds
    multiply, pack = {}, {}
    for tokens in TOKENS:
        # Two heights of the same width: what grows with the rows is arithmetic, what is left is packing.
        tall = _per_activation(weights, int8, _ROWS, tokens, threads)
        flat = _per_activation(weights, int8, _FEW_ROWS, tokens, threads)
        multiply[tokens] = max(0.0, (tall - flat) / (_ROWS - _FEW_ROWS))
        regions = _REGIONS * region / (_COLS * tokens)  # they are counted by themselves
        pack[tokens] = max(0.0, flat - _FEW_ROWS * multiply[tokens] - regions)
    return Products(_falling(read), multiply, pack)


def _per_activation(weights: str, int8: bool, rows: int, tokens: int, threads: int) -> float:
    """Seconds of a product by tokens and columns."""
    from skywork_rt import _core

    seconds, _, products = _core.bench.time_products(weights, int8, rows, _COLS, tokens, threads, _HOT, 3)
    return float(seconds * rows / products)


def between(table: Mapping[int, float], at: float) -> float:
    """A table's value at `at`, interpolated over the logarithm of its keys; beyond its ends, the nearest value."""
    keys = sorted(table)
    return float(np.interp(np.log(at), np.log(keys), [table[key] for key in keys]))
