"""Tables for the screen, in the manner of llama-bench: one line a measurement, then what they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skywork_rt.bench.findings import Finding, ratios
from skywork_rt.bench.metrics import METRICS, SEED_LENGTHS
from skywork_rt.bench.rows import Row
from skywork_rt.bench.runner import Measurements
from skywork_rt.bench.stats import number, summarise
from skywork_rt.bench.subjects import Subject
from skywork_rt.plan.published import A100, ATLAS_800T_A2, relative_to_longest

__all__ = ["findings_table", "machine_line", "ratio_table", "rows_table", "seed_table", "table"]


def table(header: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table whose columns are also aligned as plain text. `right`: columns aligned to the right."""
    cells = [list(header), *(list(line) for line in lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]

    def render(line: Sequence[str]) -> str:
        padded = (
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(line)
        )
        return "| " + " | ".join(padded) + " |"

    rule = "|".join("-" * (width + 1) + (":" if column in right else "-") for column, width in enumerate(widths))
    return "\n".join([render(cells[0]), f"|{rule}|", *(render(line) for line in cells[1:])])


def machine_line(machine: Mapping[str, Any]) -> str:
    isa, memory = " ".join(machine["isa"][-2:]), machine["memory_mb"] / 1024
    return (
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores, {isa}, {memory:.0f} GiB, "
        f"{machine['system']}; skywork_rt {machine['skywork_rt']} ({machine['compiler']}, {machine['build_type']})"
    )


def rows_table(rows: Sequence[Row]) -> str:
    """Every row of the document."""
    lines = [
        (
            row.runtime,
            row.weights,
            f"{row.bits_per_weight:.2f}",
            row.metric,
            number(row.median),
            f"{number(row.min)} … {number(row.max)}",
            row.unit,
        )
        for row in rows
    ]
    return table(("runtime", "weights", "bits", "metric", "median", "min … max", "unit"), lines, (2, 4, 5))


def ratio_table(measurements: Measurements, base: Subject) -> str:
    """A line a metric, a column a subject: how many times the base's figure. Better is greater for rates only."""
    subjects = measurements.subjects
    lines = []
    for metric in METRICS:
        found = ratios(measurements, metric.name, base)
        if found:
            cells = (f"{found[subject]:.2f}x" if subject in found else "" for subject in subjects)
            lines.append((metric.name if metric.higher_is_better else f"{metric.name} (less is better)", *cells))
    header = (f"by {base.label}", *(subject.label for subject in subjects))
    return table(header, lines, tuple(range(1, len(header))))


def seed_table(measurements: Measurements) -> str:
    """Throughput by generated length, each by its own at the longest, beside the published columns.

    Empty unless a subject was measured at every length.
    """
    columns = {"Atlas 800T A2": relative_to_longest(ATLAS_800T_A2), "A100": relative_to_longest(A100)}
    ours = {
        s.label: relative_to_longest(rates) for s in measurements.subjects if (rates := seed_rates(measurements, s))
    }
    if not ours:
        return ""
    columns |= ours
    lines = [(str(n), *(f"{column[n]:.2f}" for column in columns.values())) for n in reversed(SEED_LENGTHS)]
    return table(("new tokens", *columns), lines, tuple(range(len(columns) + 1)))


def seed_rates(measurements: Measurements, subject: Subject) -> dict[int, float]:
    """Tokens/s by generated length at batch 2; empty unless every length was measured."""
    samples = {length: measurements.of(subject, f"new_{length}") for length in SEED_LENGTHS}
    if not all(samples.values()):
        return {}
    return {length: summarise(values).median for length, values in samples.items()}


def findings_table(findings: Sequence[Finding]) -> str:
    return table(("finding", "measured", "wanted"), [(f.text, f.value, f.wanted) for f in findings], (1,))
