"""What the graph stage hands to the bundle."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GraphFile"]


@dataclass(frozen=True)
class GraphFile:
    """A graph that was written into the work directory: a plain file name and what it is (docs/bundle-format.md)."""

    file: str
    contract: str
    flavour: str
    precision: str
    weights: str | None = None
    """The file of its weights, where they are not in its own; graphs may share one."""
