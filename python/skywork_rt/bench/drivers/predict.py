"""`lite:predict`: `Model::Predict` of the bundle's graphs and nothing else.

Runs the graphs with the shapes that our backend gives them, growth of the cache included, on inputs that never change:
no cache is written, no token chosen, no position computed. The loop over the calls is C++. What our engine takes longer
is the cost of everything around the graphs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from skywork_rt import _core
from skywork_rt.bench.drivers import DriverOptions
from skywork_rt.bench.graphs import Array, ContractGraph, open_lite_graph
from skywork_rt.bench.workloads import Trace, Workload
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.export.graph.contract import FULL, INCREMENTAL, Contract, Sizes, input_specs

__all__ = ["PredictDriver", "cache_steps"]

_LONGEST_CHUNK = 512
"""Tokens that our backend gives the full graph at most."""


class PredictDriver:
    """Like our backend, it loads the incremental graph when two rows first decode at once, and keeps it."""

    def __init__(self, bundle: Path, options: DriverOptions) -> None:
        self._bundle = bundle
        self._threads = int(options["threads"])
        self._max_length = int(options["max_length"])
        self._config = ModelConfig.from_json(BundleInfo.open(bundle).section("model"))
        self._full = self._open(FULL)
        self._incremental: ContractGraph | None = None

    def run(self, workload: Workload, seed: int) -> Trace:
        del seed  # the time does not depend on what the inputs hold
        if workload.batch > 1 and self._incremental is None:
            self._incremental = self._open(INCREMENTAL)
        prefill = sum(self._prefill(workload.prompt_tokens) for _ in range(workload.batch))
        gaps = self._decode(workload)
        generated = workload.batch * workload.new_tokens
        return Trace(prefill, prefill + sum(gaps), generated - workload.batch, generated, tuple(gaps))

    def first_token(self) -> None:
        self._prefill(1)

    def close(self) -> None:
        """The graphs end with the process."""

    def _open(self, contract: Contract) -> ContractGraph:
        return open_lite_graph(self._bundle, self._config, contract, self._threads)

    def _prefill(self, tokens: int) -> float:
        """Seconds for one prompt: the whole chunks, then the rest."""
        seconds = 0.0
        for start in range(0, tokens, _LONGEST_CHUNK):
            end = min(tokens, start + _LONGEST_CHUNK)
            cached = 1 if start == 0 else _core.bench.cache_slots(end, self._max_length)
            seconds += sum(self._time(self._full, FULL, Sizes(1, end - start, cached, 1), 1))
        return seconds

    def _decode(self, workload: Workload) -> list[float]:
        """Seconds of each step after the first token."""
        gaps: list[float] = []
        for cached, steps in cache_steps(workload, self._max_length):
            if self._incremental is None:
                gaps += self._time(self._full, FULL, Sizes(1, 1, cached, 1), steps)
            else:
                gaps += self._time(self._incremental, INCREMENTAL, Sizes(workload.batch, 1, cached, 1), steps)
        return gaps

    def _time(self, graph: ContractGraph, contract: Contract, sizes: Sizes, count: int) -> list[float]:
        """Seconds of each of `count` runs; the first one's include giving the graph its shapes, as in our backend."""
        arrays = self._inputs(contract, sizes)
        started = time.perf_counter()
        graph.resize(sizes)
        resized = time.perf_counter() - started
        graph.bind(arrays)
        seconds = graph.time_runs(count)
        seconds[0] += resized
        return seconds

    def _inputs(self, contract: Contract, sizes: Sizes) -> dict[str, Array]:
        """Zeros that are really there: untouched pages would all be the kernel's one page of zeros."""
        arrays: dict[str, Array] = {}
        for spec in input_specs(contract, self._config, sizes):
            array = np.empty(spec.shape, spec.dtype)
            array.fill(0)
            arrays[spec.name] = array
        return arrays


def cache_steps(workload: Workload, max_length: int) -> Iterator[tuple[int, int]]:
    """(slots of the cache, decoding steps that see as many), in order: as the cache of our backend grows.

    The first token comes out of the prefill, so `new_tokens - 1` steps follow, and the first of them makes room for
    one token more than the prompt.
    """
    longest = range(workload.prompt_tokens + 1, workload.length)
    for slots, steps in groupby(longest, key=lambda tokens: _core.bench.cache_slots(tokens, max_length)):
        yield slots, len(list(steps))
