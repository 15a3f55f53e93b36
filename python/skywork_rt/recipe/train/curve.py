"""The loss curve as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from skywork_rt.recipe.train.records import StepRecord

__all__ = ["draw_curve"]


def draw_curve(records: Sequence[StepRecord], path: Path) -> None:
    """Writes loss and evaluation loss over the step, with the learning rate beside, as PNG; nothing for no records."""
    losses = [(record.step, record.loss) for record in records if math.isfinite(record.loss) and not record.overflow]
    if not losses:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(*zip(*losses, strict=True), label="training", linewidth=1)
    evaluated = [(record.step, record.eval_loss) for record in records if record.eval_loss is not None]
    if evaluated:
        axes.plot(*zip(*evaluated, strict=True), label="evaluation", marker="o", markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats a token)")
    axes.grid(alpha=0.3)
    axes.legend()
    rates = [(record.step, record.learning_rate) for record in records if record.learning_rate is not None]
    if rates:
        right = axes.twinx()
        right.plot(*zip(*rates, strict=True), color="grey", linewidth=0.7, linestyle=":")
        right.set_ylabel("learning rate", color="grey")
    beside = path.with_suffix(".tmp.png")
    figure.savefig(beside, dpi=110)
    beside.replace(path)
