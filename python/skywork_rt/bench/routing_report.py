"""The simulations of `bench routing` as rows and a table."""

from __future__ import annotations

from collections.abc import Sequence

from skywork_rt.bench.markdown import table
from skywork_rt.bench.routing_sim import Fleet, Outcome, Workload
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.stats import number

__all__ = ["markdown", "rows"]

_UNITS = {
    "hit_rate": "share",
    "ttft_p50": "s",
    "ttft_p99": "s",
    "busiest": "times the mean",
    "spread": "times the mean",
    "choice_us_p50": "us",
    "choice_us_p99": "us",
    "index_blocks": "blocks",
}


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row a router and figure."""
    return [
        make_row(f"router:{outcome.router}", "simulated", 0, name, unit, [float(getattr(outcome, name))])
        for outcome in outcomes
        for name, unit in _UNITS.items()
    ]


def markdown(fleet: Fleet, workload: Workload, outcomes: Sequence[Outcome]) -> str:
    """What was simulated, and a line a router."""
    lines = [
        (
            outcome.router,
            f"{100 * outcome.hit_rate:.1f} %",
            f"{1e3 * outcome.ttft_p50:.0f} / {1e3 * outcome.ttft_p99:.0f}",
            f"{outcome.busiest:.2f}",
            f"{outcome.spread:.2f}",
            f"{number(outcome.choice_us_p50)} / {number(outcome.choice_us_p99)}",
            f"{outcome.index_blocks:,}",
        )
        for outcome in outcomes
    ]
    header = ["router", "prompt tokens from a cache", "TTFT p50 / p99 ms", "busiest replica, by the mean"]
    header += ["spread, by the mean", "one choice p50 / p99 us", "blocks in its index"]
    asked = (
        f"{fleet.replicas} replicas of {fleet.slots} requests at once and a cache of {fleet.cache_tokens} tokens; "
        f"{workload.requests} requests of {workload.applications} applications, a system prompt of "
        f"{workload.system_tokens} tokens each, {workload.turns} turns, load {workload.load:g}, seed {workload.seed}"
    )
    return f"{asked}\n\n{table(header, lines, tuple(range(1, len(header))))}"
