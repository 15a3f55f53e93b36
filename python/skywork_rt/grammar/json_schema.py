"""JSON schemas as llguidance gets them: with bounded white space, and without numbers that it takes minutes for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from skywork_rt.errors import InvalidArgumentError

__all__ = ["any_object", "check_bounds", "with_bounded_space"]

_OPTIONS = "x-guidance"
"""llguidance's own key at the top of a schema, for how JSON is written."""
_SPACE = r" |\n[ \t]{0,40}"
"""What may stand where JSON allows white space: nothing, a space, or a line's end with what the next line is indented
by. A model that has lost its way writes spaces for ever, where they are free."""
_LARGEST_DIVISOR = 20_000
"""Remainders by a multipleOf are the states of an automaton: so many take a tenth of a second, a million a minute."""
_LONGEST_PATTERN = 16 << 10


def any_object() -> str:
    """The schema of every JSON object."""
    return with_bounded_space('{"type": "object"}')


def with_bounded_space(schema: str) -> str:
    """The schema, whose outputs have little white space; unless it says itself what they have."""
    try:
        value = json.loads(schema)
        check_bounds(value)
        if _OPTIONS not in value:
            value = {_OPTIONS: {"whitespace_pattern": _SPACE}, **value}
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise InvalidArgumentError("the JSON schema is nested too deeply") from None


def check_bounds(schema: Any) -> None:
    """Refuses what would take the library minutes, wherever it is in the schema."""
    for name, value in _entries(schema):
        if name == "multipleOf":
            _check_divisor(value)
        elif name == "pattern" and isinstance(value, str) and len(value) > _LONGEST_PATTERN:
            raise InvalidArgumentError(
                f"the JSON schema has a pattern of {len(value)} characters, but at most {_LONGEST_PATTERN} are possible"
            )


def _check_divisor(value: object) -> None:
    """The library writes numbers out in decimal digits, so that 0.25 divides as 25 does."""
    try:
        digits = Decimal(str(value)).normalize().as_tuple().digits
    except InvalidOperation:
        return  # no number: the library says so
    if int("".join(map(str, digits))) > _LARGEST_DIVISOR:
        raise InvalidArgumentError(
            f"the JSON schema has a multipleOf of {value}, but its digits may be at most {_LARGEST_DIVISOR}: leave it "
            "out, and check the number when it is there"
        )


def _entries(schema: Any) -> Iterator[tuple[str, Any]]:
    left = [schema]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield from value.items()
            left += value.values()
        elif isinstance(value, list):
            left += value
