"""Refusing names that do not exist, with the nearest one that does."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Iterable
from typing import Any, TypeVar

from skywork_rt.errors import InvalidArgumentError

__all__ = ["nearest", "refuse_unknown", "refuses_unknown_fields"]

T = TypeVar("T")


def refuse_unknown(owner: str, names: Iterable[str], known: Iterable[str], kind: str = "option") -> None:
    """Raises InvalidArgumentError for the first of `names` that is not in `known`; each is a `kind` of the owner."""
    allowed = sorted(known)
    for name in names:
        if name not in allowed:
            near = nearest(name, allowed)
            hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(allowed)}"
            raise InvalidArgumentError(f"{owner} has no {kind} {name!r}; {hint}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name of `known` that is most like `name`; None when none is."""
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return found[0] if found else None


def refuses_unknown_fields(cls: type[T]) -> type[T]:
    """Makes the constructor of a dataclass raise our error, with the nearest name, instead of a TypeError."""
    plain = cls.__init__
    fields = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]

    @functools.wraps(plain)
    def checked(self: T, *args: Any, **values: Any) -> None:
        refuse_unknown(cls.__name__, values, fields)
        plain(self, *args, **values)

    cls.__init__ = checked  # type: ignore[assignment]
    return cls
