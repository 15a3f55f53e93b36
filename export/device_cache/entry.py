"""A device-cache graph as model.json lists it (docs/bundle-format.md)."""

from __future__ import annotations

from skywork_rt.export.device_cache.form import DeviceForm, Role
from skywork_rt.export.graph.graph_file import GraphFile

__all__ = ["graph_entry"]

_FLAVOUR = "ge"


def graph_entry(form: DeviceForm, role: Role, file: str) -> GraphFile:
    """The graph of that role, which is the bundle's file `file`."""
    return GraphFile(
        file,
        f"device-cache/{role}",
        _FLAVOUR,
        form.precision,
        form=form.form,
        cache=form.cache_section(),
        gears=form.gears(role),
    )
