"""What the graph stage hands to the bundle."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GraphFile"]


@dataclass(frozen=True)
class GraphFile:
    """A graph that was written into the work directory: a plain file name and what it is (docs/bundle-format.md).

    Beside `X.ms` there may be `X.msw`, its weights when they are over 2 GiB, which belongs into the bundle too.
    """

    file: str
    contract: str
    flavour: str
    precision: str
