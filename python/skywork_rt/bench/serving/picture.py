"""Throughput and latency by load, a line a server. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.bench.serving.measure import Results
from skywork_rt.bench.serving.report import rows

__all__ = ["draw"]

_PANELS = (("throughput", "tokens/s"), ("ttft_p99", "TTFT p99, ms"), ("tpot_p50", "TPOT p50, ms"))


def draw(path: Path, results: Results) -> None:
    """Writes the picture; its format follows the file's suffix."""
    from matplotlib.figure import Figure  # the class alone: no display, no global state

    found = {(row.runtime, row.metric): row.median for row in rows(results)}
    figure = Figure(figsize=(4.2 * len(_PANELS), 3.6), layout="constrained")
    names = [str(load) for load in results.plan.loads]
    for axes, (metric, label) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for target in results.plan.targets:
            heights = [
                found.get((f"server:{target.label}", f"{load.name}_{metric}"), float("nan"))
                for load in results.plan.loads
            ]
            axes.plot(names, heights, marker="o", label=target.label)
        axes.set_ylabel(label)
        axes.margins(y=0.1)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
