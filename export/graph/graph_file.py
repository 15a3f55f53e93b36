"""What the graph stage hands to the bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["GraphFile"]


@dataclass(frozen=True)
class GraphFile:
    """A graph that was written into the work directory: its file name and what it is (docs/bundle-format.md).

    What follows `weights` is of the contracts device-cache alone.
    """

    file: str
    contract: str
    flavour: str
    precision: str
    weights: str | None = None
    """The file of its weights, where they are not in its own; graphs may share one."""

    form: str | None = None
    cache: Mapping[str, int] | None = None
    gears: tuple[tuple[int, int], ...] | None = None
    """Shapes that it is compiled for: rows, and tokens of a prompt or positions that a step attends to."""

    data: tuple[str, ...] = ()
    """Files that the graph itself names, for its weights; bundles list them and say no more of them."""

    options: str | None = None
    """The configuration of the device's compiler beside it, for who runs it without a bundle."""

    def section(self) -> dict[str, Any]:
        """Its entry in model.json."""
        listed = (f.name for f in dataclasses.fields(self) if f.name not in ("data", "options"))
        return {name: value for name in listed if (value := getattr(self, name)) is not None}
