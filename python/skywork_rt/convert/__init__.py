"""Checkpoints from one layout to another: Hugging Face's and MindSpore's, whole and divided among ranks."""

from __future__ import annotations

from skywork_rt.convert.conversion import convert
from skywork_rt.convert.distribution import merge, split
from skywork_rt.convert.parallelism import Parallelism
from skywork_rt.convert.report import Report

__all__ = ["Parallelism", "Report", "convert", "merge", "split"]
