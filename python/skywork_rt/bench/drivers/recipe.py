"""`recipe:python-loop`: the loop of `skywork_rt.bench.recipe` on the bundle's graphs."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

from skywork_rt.bench.drivers import DriverOptions
from skywork_rt.bench.graphs import open_lite_graph
from skywork_rt.bench.recipe import RecipeConfig, RecipeLoop
from skywork_rt.bench.workloads import Trace, Workload, random_prompts
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.export.graph.contract import FULL, INCREMENTAL

__all__ = ["RecipeDriver"]


class RecipeDriver:
    """Greedy, end tokens ignored; its sequence length is the run's longest sequence, or `sequence_length`."""

    def __init__(self, bundle: Path, options: DriverOptions) -> None:
        self._model = ModelConfig.from_json(BundleInfo.open(bundle).section("model"))
        full, incremental = (
            open_lite_graph(bundle, self._model, contract, int(options["threads"])) for contract in (FULL, INCREMENTAL)
        )
        length = int(options.get("sequence_length", options["max_length"]))
        self._loop = RecipeLoop(self._model, full, incremental, length)

    def run(self, workload: Workload, seed: int) -> Trace:
        # A pad id that no prompt ends in: the last of the vocabulary, which the prompts therefore leave out.
        pad = self._model.vocab_size - 1
        prompts = [prompt.tolist() for prompt in random_prompts(workload, pad, seed)]
        times: list[float] = []
        started = time.perf_counter()
        self._loop.generate(
            prompts,
            workload.length,
            RecipeConfig(eos_token_id=None, pad_token_id=pad),
            lambda: times.append(time.perf_counter() - started),
        )
        gaps = tuple(later - earlier for earlier, later in pairwise(times))
        generated = workload.batch * len(times)
        return Trace(times[0], times[-1], generated - workload.batch, generated, gaps)

    def first_token(self) -> None:
        pad = self._model.vocab_size - 1
        self._loop.generate([[0]], 2, RecipeConfig(eos_token_id=None, pad_token_id=pad))

    def close(self) -> None:
        """The graphs end with the process."""
