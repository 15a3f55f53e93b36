"""What a reader of tool calls finds, in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["ArgumentsText", "CallBegun", "CallWithdrawn", "ContentText", "Event", "without_withdrawn"]


@dataclass(frozen=True, slots=True)
class ContentText:
    """Text that is said, and no part of a call."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call of a known function. Calls are counted from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsText:
    """More of a call's arguments: JSON, character by character as the model wrote it."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallWithdrawn:
    """What began as this call is none after all: its arguments are no JSON. All of its text follows as content, and the
    next call takes its number."""

    index: int


Event: TypeAlias = ContentText | CallBegun | ArgumentsText | CallWithdrawn


def without_withdrawn(events: Iterable[Event]) -> list[Event]:
    """What was found in a whole answer, without calls that turned out to be none."""
    kept: list[Event] = []
    for event in events:
        if isinstance(event, CallWithdrawn):
            begun = max(place for place, each in enumerate(kept) if isinstance(each, CallBegun))
            del kept[begun:]
        else:
            kept.append(event)
    return kept
