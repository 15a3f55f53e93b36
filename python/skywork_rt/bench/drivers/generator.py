"""Our own generator, through the API that a user calls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import skywork_rt
from skywork_rt.api.results import RequestOutput
from skywork_rt.bench.drivers import DriverOptions
from skywork_rt.bench.workloads import Trace, Workload, random_prompts

__all__ = ["GeneratorDriver", "batch_trace"]


class GeneratorDriver:
    """Greedy, end tokens ignored, and no prefix cache: every run computes all that it is timed for."""

    def __init__(self, bundle: Path, options: DriverOptions) -> None:
        max_batch = int(options["max_batch"])
        max_length = int(options["max_length"])
        chosen: dict[str, Any] = {
            name: options[name] for name in ("backend", "weights", "activations") if name in options
        }
        # All rows prefill in one step, so that they decode side by side from the first token to the last.
        self._generator = skywork_rt.Generator(
            bundle,
            **chosen,
            threads=int(options["threads"]),
            max_batch=max_batch,
            max_length=max_length,
            prefill_budget=max_batch * max_length,
            prefill_stretch=0.0,
            prefix_cache=False,
        )

    def run(self, workload: Workload, seed: int) -> Trace:
        prompts = random_prompts(workload, self._generator.model.vocab_size, seed)
        params = skywork_rt.SamplingParams(temperature=0.0, max_tokens=workload.new_tokens, ignore_eos=True)
        if workload.batch > 1:
            return batch_trace(self._generator.generate(prompts, params), workload.new_tokens)
        started = time.perf_counter()
        times = [
            time.perf_counter() - started
            for piece in self._generator.stream(prompts[0], params)
            for _ in piece.token_ids
        ]
        gaps = tuple(later - earlier for earlier, later in pairwise(times))
        return Trace(times[0], times[-1], len(times) - 1, len(times), gaps)

    def prompt_rate_with_logits(self, tokens: int, seed: int) -> float:
        """Tokens a second, inside the backend, of one prompt whose logits are wanted at every position."""
        (prompt,) = random_prompts(Workload("logits", 1, tokens, 1), self._generator.model.vocab_size, seed)
        before = float(self._generator.stats()["forward_seconds"])
        self._generator.generate(prompt, temperature=0.0, max_tokens=1, ignore_eos=True, prompt_logprobs=0)
        return tokens / (float(self._generator.stats()["forward_seconds"]) - before)

    def first_token(self) -> None:
        self._generator.generate([0], temperature=0.0, max_tokens=1, ignore_eos=True)

    def close(self) -> None:
        self._generator.close()


def batch_trace(results: Sequence[RequestOutput], new_tokens: int) -> Trace:
    """The clock of rows that were submitted together.

    The engine takes the first row as soon as it is there, a step before the others, so that row's clock runs ahead by
    a step or so: counted is what came after the *last* row's first token.
    """
    first = max(result.timings.ttft for result in results)
    total = max(result.timings.total for result in results)
    step = (total - first) / max(1, new_tokens - 1)
    ahead = sum(round((total - result.timings.total) / step) for result in results) if step > 0 else 0
    rows = len(results)
    return Trace(first, total, rows * (new_tokens - 1) - ahead, rows * new_tokens)
