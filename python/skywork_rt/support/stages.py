"""How work that takes long tells how far it is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "no_progress"]


class Progress(Protocol):
    """Called as work proceeds: `stage` is a short name for people, `done` of `total` units are finished.

    A stage begins with done == 0 and ends with done == total; the unit is the stage's own (tensors, bytes, steps).
    Whoever implements this may raise (KeyboardInterrupt, say) to stop an export, which then leaves nothing behind.
    """

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def no_progress(stage: str, done: int, total: int) -> None:
    """The `Progress` that shows nothing."""
