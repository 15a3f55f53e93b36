"""Admission by reservation against optimistic admission: the same requests, on the same bounded cache.

Two loads: outputs that end at a quarter of their max_tokens, as answers do whose clients leave room, and outputs that
fill it. The cache holds what the slots hold on average, so reservations for the first load keep slots empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import skywork_rt
from skywork_rt.bench import serve_sim
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.runner import Report
from skywork_rt.bench.serve_report import ServePlan
from skywork_rt.bench.serve_sim import Arrival, at_once, run_continuous
from skywork_rt.bench.stats import median_ratio

__all__ = ["LOADS", "AdmissionSimulation", "run"]

LOADS = {"serve_quarter": 4, "serve_filled": 1}
"""max_tokens by the output's length."""
_WANTED = {"serve_quarter": 1.3, "serve_filled": 0.95}
_WAYS = ("reserve", "optimistic")


class AdmissionSimulation:
    """Tokens/s by way and load, one a repeat, and how many requests gave way in all."""

    def __init__(self) -> None:
        self.throughput: dict[tuple[str, str], list[float]] = {(way, load): [] for way in _WAYS for load in LOADS}
        self.preempted = dict.fromkeys(LOADS, 0)

    def rows(self, plan: ServePlan) -> list[Row]:
        return [
            make_row(
                f"skywork_rt:{way}",
                plan.subject.weights,
                plan.subject.bits_per_weight,
                f"{load}_throughput",
                "tokens/s",
                samples,
            )
            for (way, load), samples in self.throughput.items()
        ]

    def gain(self, load: str) -> float:
        """Throughput of optimistic admission by that of reservation."""
        return median_ratio(self.throughput["optimistic", load], self.throughput["reserve", load])

    def lines(self) -> list[str]:
        return [
            f"optimistic admission, max_tokens {times}x the output: {self.gain(load):.2f}x the throughput of "
            f"reservation (wanted: at least {_WANTED[load]:g}x); {self.preempted[load]} requests gave way"
            for load, times in LOADS.items()
        ]


async def run(plan: ServePlan, report: Report) -> AdmissionSimulation:
    """Both loads, both ways, in turns."""
    simulation = AdmissionSimulation()
    done, turns = 0, plan.repeats * len(_WAYS) * len(LOADS)
    for _ in range(plan.repeats):
        for load in LOADS:
            for way in _WAYS:
                report("admission", done, turns)
                await _serve(plan, way, load, simulation)
                done += 1
    report("admission", turns, turns)
    return simulation


async def _serve(plan: ServePlan, way: str, load: str, simulation: AdmissionSimulation) -> None:
    options: dict[str, Any] = dict(plan.subject.options)
    async with skywork_rt.AsyncGenerator(
        plan.bundle,
        **options,
        threads=plan.threads,
        max_batch=plan.slots,
        admission=way,
        max_cached_tokens=_cache_tokens(plan),
        prefix_cache=False,
    ) as generator:
        model = generator.generator.model
        requests = at_once(plan.requests, plan.prompt_tokens, model.vocab_size, plan.seed)
        server = _server(generator, LOADS[load], generator.generator.options["max_length"])
        await run_continuous([replace(r, new_tokens=8) for r in requests[: plan.slots]], server)  # warms up
        before = generator.stats()["preempted"]
        summary = serve_sim.summarise(await run_continuous(requests, server))
        simulation.throughput[way, load].append(summary.throughput)
        simulation.preempted[load] += generator.stats()["preempted"] - before


def _cache_tokens(plan: ServePlan) -> int:
    """What the slots hold on average, or one longest request with its room."""
    requests = at_once(plan.requests, plan.prompt_tokens, 2, plan.seed)
    return max(plan.slots * _mean([r.new_tokens + plan.prompt_tokens for r in requests]), _longest(plan.prompt_tokens))


def _longest(prompt_tokens: int) -> int:
    return prompt_tokens + max(LOADS.values()) * serve_sim.LONGEST


def _mean(values: Sequence[int]) -> int:
    return sum(values) // len(values)


def _server(generator: skywork_rt.AsyncGenerator, times: int, max_length: int) -> serve_sim.Server:
    """A client that leaves after the wanted tokens."""

    async def serve(arrival: Arrival) -> tuple[float, float]:
        prompt = list(arrival.prompt)
        most = min(times * arrival.new_tokens, max_length - len(prompt))
        params = skywork_rt.SamplingParams(temperature=0.0, max_tokens=most, ignore_eos=True)
        tokens, clock = 0, serve_sim.Clock()
        first = 0.0
        async with generator.stream(prompt, params) as stream:
            async for piece in stream:
                tokens += len(piece.token_ids)
                first = first or clock.now()
                if tokens >= arrival.new_tokens:
                    break
        return first, clock.now()

    return serve
