"""What the graph stage hands to the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["GRAPH_FORMATS", "GraphFile", "GraphFormat"]

GraphFormat = Literal["ms", "mindir"]
"""Lite's own format (kMindIR_Lite), or MindIR (kMindIR); also the ending of the file."""

GRAPH_FORMATS: tuple[GraphFormat, ...] = ("ms", "mindir")


@dataclass(frozen=True)
class GraphFile:
    """A graph that was written into the bundle's directory: its name there and what it is (docs/bundle-format.md).

    `form`, `cache` and `gears` belong to graphs with a device cache alone.
    """

    file: str
    contract: str
    flavour: str
    precision: str
    weights: str | None = None
    """The file of its weights, where they are not in its own; graphs may share one."""
    form: str | None = None
    cache: dict[str, int] | None = None
    gears: tuple[tuple[int, int], ...] | None = None
