"""Limits of latency: an answer within all of them counts as goodput, as in DistServe (arXiv:2401.09670)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from skywork_rt.errors import InvalidArgumentError

__all__ = ["Limits", "parse_limits"]

_UNITS = {"ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Limits:
    """Each in seconds; None: no limit."""

    ttft: float | None = None
    """From the planned arrival to the first token."""
    tpot: float | None = None
    """Mean time of a token after the first."""
    e2e: float | None = None
    """From the planned arrival to the end."""

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(self))

    def met_by(self, measured: Mapping[str, float | None]) -> bool:
        """Whether an answer with these figures, seconds by the names above, is within all limits."""
        for field in fields(self):
            limit, value = getattr(self, field.name), measured.get(field.name)
            if limit is not None and value is not None and value > limit:
                return False
        return True

    def __str__(self) -> str:
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        return ", ".join(f"{name} {1e3 * value:g} ms" for name, value in given if value is not None)


def parse_limits(text: str) -> Limits:
    """`ttft=500ms,tpot=50ms,e2e=10s`. Raises InvalidArgumentError that names the part that is wrong."""
    names = [field.name for field in fields(Limits)]
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in names:
            raise InvalidArgumentError(
                f"--slo has no limit {name!r}; there are {', '.join(names)}: ttft=500ms,tpot=50ms"
            )
        found[name] = _seconds(part, value)
    return Limits(**found)


def _seconds(part: str, value: str) -> float:
    unit = next((unit for unit in _UNITS if value.endswith(unit)), None)
    try:
        seconds = float(value.removesuffix(unit or "")) * _UNITS[unit or ""]
    except (ValueError, KeyError):
        raise InvalidArgumentError(f"--slo: {part!r} needs a number and a unit, ms or s, such as ttft=500ms") from None
    if not 0 < seconds < 1e6:
        raise InvalidArgumentError(f"--slo: {part!r} must be more than 0 and less than a million seconds")
    return seconds
