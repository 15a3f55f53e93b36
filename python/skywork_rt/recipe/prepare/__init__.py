"""Text to MindRecord, for training (`skywork-rt prepare`)."""

from __future__ import annotations

from skywork_rt.recipe.prepare.layouts import LAYOUTS
from skywork_rt.recipe.prepare.prepare import prepare
from skywork_rt.recipe.prepare.report import BadLine, Report

__all__ = ["LAYOUTS", "BadLine", "Report", "prepare"]
