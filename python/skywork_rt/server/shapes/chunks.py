"""The events of a stream of completions or chats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skywork_rt.server.answers import event
from skywork_rt.server.schemas.generation import StreamOptions

__all__ = ["Chunks"]


@dataclass(frozen=True)
class Chunks:
    """Writes events that all begin with the same heading, and say the usage as `options` ask."""

    heading: dict[str, Any]
    options: StreamOptions | None

    @property
    def ends_with_usage(self) -> bool:
        return self.options is not None and self.options.include_usage

    def next(self, choice: dict[str, Any], so_far: dict[str, Any]) -> bytes:
        """A piece of one choice; `so_far` is the usage until here."""
        chunk: dict[str, Any] = {**self.heading, "choices": [choice]}
        if self.options is not None and self.options.continuous_usage_stats:
            chunk["usage"] = so_far
        elif self.ends_with_usage:
            chunk["usage"] = None
        return event(chunk)

    def last(self, usage: dict[str, Any]) -> bytes:
        """The event that has the usage alone."""
        return event({**self.heading, "choices": [], "usage": usage})
