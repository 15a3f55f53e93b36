"""Graphs that hold their KV cache on the device, as MindFormers exports them: what a pair of them is.

What `export --for ascend` plans and what `adopt` recognises is the same `DeviceForm`, and becomes the same lines of
model.json. Knows nothing of MindSpore.
"""

from __future__ import annotations

from skywork_rt.export.device_cache.entry import graph_entry
from skywork_rt.export.device_cache.form import (
    FORMS,
    FULL,
    INCREMENTAL,
    PRECISIONS,
    ROLES,
    DeviceForm,
    Form,
    Precision,
    Role,
)
from skywork_rt.export.device_cache.gears import LEAST_DYNAMIC_GEARS, MOST_GEARS, Gear, parse_gears

__all__ = [
    "FORMS",
    "FULL",
    "INCREMENTAL",
    "LEAST_DYNAMIC_GEARS",
    "MOST_GEARS",
    "PRECISIONS",
    "ROLES",
    "DeviceForm",
    "Form",
    "Gear",
    "Precision",
    "Role",
    "graph_entry",
    "parse_gears",
]
