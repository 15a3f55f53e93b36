"""Runs the serving simulation on a generator and puts its figures into rows and tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import skywork_rt
from skywork_rt.bench import serve_sim
from skywork_rt.bench.markdown import machine_line, rows_table
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.runner import Report
from skywork_rt.bench.serve_sim import Arrival, Served, Summary, at_once, poisson, run_continuous, run_static
from skywork_rt.bench.stats import median_ratio
from skywork_rt.bench.subjects import Subject

__all__ = ["CONTINUOUS", "SHRINKING", "STATIC", "ServePlan", "Simulation", "markdown", "run"]

CONTINUOUS = "skywork_rt:continuous"
STATIC = "skywork_rt:static"
SHRINKING = "skywork_rt:static_shrinking"
_BURST = "serve"
_STREAM = "serve_poisson"
_UNITS = {"throughput": "tokens/s"}
_WANTED_GAIN = 1.5
_OVERLOAD = 2.0
"""Requests of the Poisson stream arrive at this multiple of what static batches can serve."""


@dataclass(frozen=True)
class ServePlan:
    """What to simulate."""

    bundle: Path
    subject: Subject
    requests: int
    slots: int
    prompt_tokens: int
    seed: int
    repeats: int
    threads: int


@dataclass
class Simulation:
    """Summaries by way of serving and load, one a repeat."""

    summaries: dict[tuple[str, str], list[Summary]] = field(default_factory=dict)

    def add(self, runtime: str, load: str, summary: Summary) -> None:
        self.summaries.setdefault((runtime, load), []).append(summary)

    def samples(self, runtime: str, load: str, name: str) -> list[float]:
        return [getattr(summary, name) for summary in self.summaries[runtime, load]]

    def rows(self, subject: Subject) -> list[Row]:
        return [
            make_row(
                runtime,
                subject.weights,
                subject.bits_per_weight,
                f"{load}_{measured.name}",
                _UNITS.get(measured.name, "ms"),
                self.samples(runtime, load, measured.name),
            )
            for runtime, load in self.summaries
            for measured in fields(Summary)
        ]

    def gain(self, load: str, base: str = STATIC) -> float:
        """Throughput of continuous batching by that of `base`."""
        return median_ratio(self.samples(CONTINUOUS, load, "throughput"), self.samples(base, load, "throughput"))


async def run(plan: ServePlan, report: Report) -> Simulation:
    """Both loads, all ways of serving, in turns, on one generator."""
    simulation = Simulation()
    options: dict[str, Any] = dict(plan.subject.options)
    async with skywork_rt.AsyncGenerator(
        plan.bundle,
        **options,
        threads=plan.threads,
        max_batch=plan.slots,
        max_length=plan.prompt_tokens + serve_sim.LONGEST,
        prefix_cache=False,
    ) as generator:
        requests = at_once(plan.requests, plan.prompt_tokens, generator.generator.model.vocab_size, plan.seed)
        ways = _ways(_server(generator), plan.slots)
        await ways[CONTINUOUS]([Arrival(0.0, r.prompt, 8) for r in requests[: plan.slots]])  # warms up
        turns = 2 * len(ways)
        for repeat in range(plan.repeats):
            load, arrivals = _BURST, requests
            for turn in range(turns):
                report("serving", turns * repeat + turn, turns * plan.repeats)
                runtime = list(ways)[turn % len(ways)]
                if turn == len(ways):
                    load, arrivals = _STREAM, _overload(requests, simulation, plan.seed)
                simulation.add(runtime, load, serve_sim.summarise(await ways[runtime](arrivals)))
        report("serving", turns * plan.repeats, turns * plan.repeats)
    return simulation


def _overload(requests: Sequence[Arrival], simulation: Simulation, seed: int) -> list[Arrival]:
    """The requests as a stream that static batches, at the speed they just showed, cannot keep up with."""
    capacity = simulation.summaries[STATIC, _BURST][-1].throughput  # tokens/s
    tokens = sum(request.new_tokens for request in requests) / len(requests)
    return poisson(requests, _OVERLOAD * capacity / tokens, seed)


def _ways(server: serve_sim.Server, slots: int) -> dict[str, Callable[[Sequence[Arrival]], Awaitable[list[Served]]]]:
    return {
        STATIC: lambda arrivals: run_static(arrivals, server, slots),
        CONTINUOUS: lambda arrivals: run_continuous(arrivals, server),
        SHRINKING: lambda arrivals: run_static(arrivals, server, slots, shrinking=True),
    }


def _server(generator: skywork_rt.AsyncGenerator) -> serve_sim.Server:
    async def serve(arrival: Arrival) -> tuple[float, float]:
        params = skywork_rt.SamplingParams(temperature=0.0, max_tokens=arrival.new_tokens, ignore_eos=True)
        timings = (await generator.generate(list(arrival.prompt), params)).timings
        return timings.ttft, timings.total

    return serve


def markdown(simulation: Simulation, machine: Mapping[str, Any], rows: Sequence[Row], more: Sequence[str]) -> str:
    """The rows, then the gain of each load, then `more` lines."""
    gains = [
        f"{name}: {simulation.gain(load):.2f}x the throughput of static batches (wanted: at least {_WANTED_GAIN:g}x), "
        f"{simulation.gain(load, SHRINKING):.2f}x that of static batches whose rows leave as they end"
        for name, load in (("all at once", _BURST), ("Poisson stream", _STREAM))
    ]
    return "\n\n".join([machine_line(machine), rows_table(rows), *gains, *more])
