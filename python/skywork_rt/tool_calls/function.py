"""Functions that a model may call, and which calls are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Function", "Wanted"]


@dataclass(frozen=True)
class Function:
    """A function: its name, and the JSON schema of its arguments, an object."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    """Whether arguments must keep to the schema even where the model chooses freely whether it calls."""


@dataclass(frozen=True)
class Wanted:
    """Which calls a grammar allows. free: text without a call is allowed too, and text before calls. most: None for
    any number."""

    functions: Sequence[Function]
    free: bool = False
    most: int | None = None
