"""Runs the serving simulation on a generator and puts its figures into rows and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import skywork_rt
from skywork_rt.bench import serve_sim
from skywork_rt.bench.markdown import machine_line, rows_table
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.runner import Report
from skywork_rt.bench.serve_sim import Arrival, Summary, at_once, poisson, run_continuous, run_static
from skywork_rt.bench.stats import median_ratio
from skywork_rt.bench.subjects import Subject

__all__ = ["CONTINUOUS", "STATIC", "ServePlan", "Simulation", "markdown", "run"]

CONTINUOUS = "skywork_rt:continuous"
STATIC = "skywork_rt:static"
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

    def gain(self, load: str) -> float:
        """Throughput of continuous batching by that of static batches."""
        return median_ratio(self.samples(CONTINUOUS, load, "throughput"), self.samples(STATIC, load, "throughput"))


async def run(plan: ServePlan, report: Report) -> Simulation:
    """Both loads, both ways of serving, in turns, on one generator."""
    steps = 4 * plan.repeats
    report("serving", 0, steps)
    simulation = Simulation()
    async with skywork_rt.AsyncGenerator(
        plan.bundle,
        **plan.subject.options,
        threads=plan.threads,
        max_batch=plan.slots,
        max_length=plan.prompt_tokens + serve_sim.LONGEST,
        prefix_cache=False,
    ) as generator:
        requests = at_once(plan.requests, plan.prompt_tokens, generator.generator.model.vocab_size, plan.seed)
        server = _server(generator)
        await run_continuous([Arrival(0.0, r.prompt, 8) for r in requests[: plan.slots]], server)  # warms up
        for repeat in range(plan.repeats):
            static = serve_sim.summarise(await run_static(requests, server, plan.slots))
            simulation.add(STATIC, _BURST, static)
            report("serving", 4 * repeat + 1, steps)
            simulation.add(CONTINUOUS, _BURST, serve_sim.summarise(await run_continuous(requests, server)))
            report("serving", 4 * repeat + 2, steps)
            tokens = sum(request.new_tokens for request in requests) / len(requests)
            stream = poisson(requests, _OVERLOAD * static.throughput / tokens, plan.seed)
            simulation.add(STATIC, _STREAM, serve_sim.summarise(await run_static(stream, server, plan.slots)))
            report("serving", 4 * repeat + 3, steps)
            simulation.add(CONTINUOUS, _STREAM, serve_sim.summarise(await run_continuous(stream, server)))
            report("serving", 4 * repeat + 4, steps)
    return simulation


def _server(generator: skywork_rt.AsyncGenerator) -> serve_sim.Server:
    async def serve(arrival: Arrival) -> tuple[float, float]:
        params = skywork_rt.SamplingParams(temperature=0.0, max_tokens=arrival.new_tokens, ignore_eos=True)
        timings = (await generator.generate(list(arrival.prompt), params)).timings
        return timings.ttft, timings.total

    return serve


def markdown(simulation: Simulation, machine: Mapping[str, Any], subject: Subject) -> str:
    """The rows, then the gain of each load."""
    gains = (
        f"{name}: {simulation.gain(load):.2f}x the throughput of static batches (wanted: at least {_WANTED_GAIN:g}x)"
        for name, load in (("all at once", _BURST), ("Poisson stream", _STREAM))
    )
    return "\n\n".join([machine_line(machine), rows_table(simulation.rows(subject)), *gains])
