"""Checkpoints from one layout to another: Hugging Face's and MindSpore's, whole and split among ranks."""

from __future__ import annotations

from skywork_rt.convert.conversion import convert
from skywork_rt.convert.report import Report

__all__ = ["Report", "convert"]
