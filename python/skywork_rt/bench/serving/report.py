"""What was measured as tables for the screen, and as rows of the bench's document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skywork_rt.bench.markdown import machine_line, table
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.serving.load import Load
from skywork_rt.bench.serving.measure import Measured, Results
from skywork_rt.bench.stats import median_ratio, number, summarise

__all__ = ["best_peer_line", "errors_lines", "load_table", "markdown", "rows"]

_Reading = Callable[[Measured], float | None]


def _latency(name: str, percent: int) -> _Reading:
    return lambda measured: getattr(measured.figures, name).get(percent)


def _per_token(measured: Measured) -> float | None:
    tokens = measured.figures.output_tokens
    return None if measured.server_cpu is None or not tokens else 1e3 * measured.server_cpu / tokens


_READINGS: dict[str, tuple[str, _Reading]] = {
    "throughput": ("tokens/s", lambda m: m.figures.tokens_per_second),
    "requests": ("requests/s", lambda m: m.figures.requests_per_second),
    **{
        f"{name}_p{percent}": ("ms", _latency(name, percent))
        for name in ("ttft", "tpot", "itl", "e2e")
        for percent in (50, 90, 99)
    },
    "goodput": ("requests/s", lambda m: m.figures.goodput),
    "within_limits": ("share", lambda m: m.figures.within),
    "errors": ("requests", lambda m: float(sum(m.figures.errors.values()))),
    "cpu_per_token": ("ms", _per_token),
    "rss": ("MB", lambda m: None if m.server_rss is None else m.server_rss / 1e6),
    "client_cpu": ("cores", lambda m: m.client_cpu),
}


def _samples(results: Results, label: str, load: Load, name: str) -> list[float]:
    found = (_READINGS[name][1](measured) for measured in results.of(label, load))
    return [value for value in found if value is not None]


def rows(results: Results) -> list[Row]:
    """`clients_16_ttft_p99`, `rate_4_throughput`, … of every server."""
    return [
        make_row(f"server:{target.label}", results.models[target.label], 0, f"{load.name}_{name}", unit, samples)
        for load in results.plan.loads
        for target in results.plan.targets
        for name, (unit, _) in _READINGS.items()
        if (samples := _samples(results, target.label, load, name))
    ]


def load_table(results: Results) -> str:
    """A line a load and server; the last column is its throughput by that of the first server."""
    with_cost = any(target.command for target in results.plan.targets)
    header = ["load", "server", "done", "errors", "tokens/s", "requests/s", "TTFT p50 / p90 / p99 ms"]
    header += ["TPOT p50 / p90 / p99 ms", "ITL p99 ms", "end p50 / p99 ms"]
    header += ["goodput/s"] * bool(results.plan.limits) + ["CPU ms/token", "RSS MB"] * with_cost
    several = len(results.plan.targets) > 1
    header += [f"by {results.plan.targets[0].label}"] * several
    lines = []
    for load in results.plan.loads:
        for target in results.plan.targets:
            line = [str(load), target.label, *_line(results, target.label, load)]
            if results.plan.limits:
                line.append(_median(results, target.label, load, "goodput"))
            if with_cost:
                line += [_median(results, target.label, load, name) for name in ("cpu_per_token", "rss")]
            if several:
                line.append(_ratio(results, target.label, load))
            lines.append(line)
    return table(header, lines, tuple(range(2, len(header))))


def _line(results: Results, label: str, load: Load) -> list[str]:
    found = results.of(label, load)
    done, asked = sum(m.figures.done for m in found), sum(m.figures.requests for m in found)
    return [
        f"{done} of {asked}",
        str(sum(sum(m.figures.errors.values()) for m in found)),
        _median(results, label, load, "throughput"),
        _median(results, label, load, "requests"),
        *(_medians(results, label, load, name, (50, 90, 99)) for name in ("ttft", "tpot")),
        _medians(results, label, load, "itl", (99,)),
        _medians(results, label, load, "e2e", (50, 99)),
    ]


def _median(results: Results, label: str, load: Load, name: str) -> str:
    samples = _samples(results, label, load, name)
    return number(summarise(samples).median) if samples else ""


def _medians(results: Results, label: str, load: Load, name: str, percents: Sequence[int]) -> str:
    return " / ".join(_median(results, label, load, f"{name}_p{percent}") or "-" for percent in percents)


def _ratio(results: Results, label: str, load: Load) -> str:
    base = _samples(results, results.plan.targets[0].label, load, "throughput")
    own = _samples(results, label, load, "throughput")
    return f"{median_ratio(own, base):.2f}x" if base and all(base) and len(own) == len(base) else ""


def errors_lines(results: Results) -> list[str]:
    """Errors by code, a line a load and server that had some."""
    lines = []
    for load in results.plan.loads:
        for target in results.plan.targets:
            counts: dict[str, int] = {}
            message = ""
            for measured in results.of(target.label, load):
                message = message or measured.figures.first_error
                for code, count in measured.figures.errors.items():
                    counts[code] = counts.get(code, 0) + count
            if counts:
                kinds = ", ".join(f"{count} x {code}" for code, count in sorted(counts.items()))
                lines.append(f"errors of {target.label}, {load}: {kinds}. The first: {message[:200]}")
    return lines


def best_peer_line(results: Results) -> str:
    """How the first server stands to the best of the others at the most clients; empty without others or clients."""
    loads = [load for load in results.plan.loads if load.clients is not None]
    ours, *peers = [target.label for target in results.plan.targets]
    if not loads or not peers:
        return ""
    load = max(loads, key=lambda load: load.clients or 0)
    rates = {label: _samples(results, label, load, "throughput") for label in (ours, *peers)}
    if not all(rates.values()) or not all(all(samples) for samples in rates.values()):
        return ""
    best = max(peers, key=lambda label: summarise(rates[label]).median)
    ratio = median_ratio(rates[ours], rates[best])
    return f"{ours} at {load}: {ratio:.2f}x the throughput of {best}, the best of the others"


def _counting_line(results: Results) -> str:
    ways = {
        target.label: {m.figures.counted_by for load in results.plan.loads for m in results.of(target.label, load)}
        for target in results.plan.targets
    }
    told = "; ".join(f"{label}: {', '.join(sorted(found))}" for label, found in ways.items())
    return f"Tokens were counted by the servers' usage, or where there is none by pieces of the stream ({told})."


def markdown(results: Results, machine: Mapping[str, Any]) -> str:
    """The machine, the table, what was asked, and what went wrong."""
    plan = results.plan
    asked = (
        f"{len(plan.workload)} calls of a file"
        if plan.workload is not None
        else f"prompts of {plan.shape.prompt_tokens} tokens, answers of {plan.shape.output_tokens}, "
        f"{'ids' if plan.shape.vocab_size else 'words'} of seed {plan.seed}"
    )
    parts = [machine_line(machine), load_table(results), f"Asked: {asked}. {_counting_line(results)}"]
    if plan.limits:
        parts.append(f"Goodput counts answers within {plan.limits}.")
    parts += [best_peer_line(results), *errors_lines(results), *(f"note: {note}" for note in results.notes)]
    return "\n\n".join(part for part in parts if part)
