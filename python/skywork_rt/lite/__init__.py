"""MindSpore Lite on this machine: finding it, and preparing it when it is missing."""

from __future__ import annotations

from skywork_rt.lite.install import Progress, damaged_files, ensure, install
from skywork_rt.lite.location import LiteLocation, is_prepared, locate, prepared_home

__all__ = [
    "LiteLocation",
    "Progress",
    "damaged_files",
    "ensure",
    "install",
    "is_prepared",
    "locate",
    "prepared_home",
]
