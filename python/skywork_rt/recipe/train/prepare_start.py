"""Makes of the checkpoint that a training begins from the file that MindFormers loads on this rank."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skywork_rt.support.stages import Progress

if TYPE_CHECKING:
    from skywork_rt.recipe.train.plan import Plan

__all__ = ["prepare_start"]


def prepare_start(plan: Plan, progress: Progress) -> Path | None:
    """The .ckpt to load; None for random weights."""
    if plan.start is None:
        return None
    return plan.start.path
