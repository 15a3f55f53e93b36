"""JSON schemas as llguidance gets them: with bounded white space, and without numbers that it takes minutes for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
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
_LARGEST_TOGETHER = 65_535
"""What several multipleOf come to where one number must fulfil them: the library multiplies two of them in 32 bits, and
keeps to something else where they are larger."""
_LONGEST_PATTERN = 16 << 10
_APPLY = {"allOf", "anyOf", "oneOf", "$ref"}
_SAY_NOTHING = {
    "$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated", "description", "examples", "title",
    _OPTIONS,
}  # fmt: skip
"""Keywords that keep no value out."""


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
    divisors: list[Decimal] = []
    for name, value in _entries(schema):
        if name == "multipleOf":
            divisors += _checked_divisor(value)
        elif name == "pattern" and isinstance(value, str) and len(value) > _LONGEST_PATTERN:
            raise InvalidArgumentError(
                f"the JSON schema has a pattern of {len(value)} characters, but at most {_LONGEST_PATTERN} are possible"
            )
    if len(divisors) > 1 and any(_intersects(each) for each in _objects(schema)):
        _check_together(divisors)


def _checked_divisor(value: object) -> list[Decimal]:
    """The library writes numbers out in decimal digits, so that 0.25 divides as 25 does."""
    try:
        divisor = Decimal(str(value)).normalize()
    except InvalidOperation:
        return []  # no number: the library says so
    digits = divisor.as_tuple().digits
    if int("".join(map(str, digits))) > _LARGEST_DIVISOR:
        raise InvalidArgumentError(
            f"the JSON schema has a multipleOf of {value}, but its digits may be at most {_LARGEST_DIVISOR}: leave it "
            "out, and check the number when it is there"
        )
    return [divisor] if divisor.is_finite() and divisor > 0 else []


def _intersects(schema: Mapping[str, Any]) -> bool:
    """Whether a value must fulfil several schemas at once here, so that their multipleOf may meet in one number."""
    several = schema.get("allOf")
    if isinstance(several, list) and len(several) > 1:
        return True
    says = schema.keys() - _SAY_NOTHING
    return len(says) > 1 and bool(says & _APPLY)


def _check_together(divisors: list[Decimal]) -> None:
    """Which of them meet is not looked into: all of them may."""
    largest = max(divisors) / min(divisors)
    scale = max(-int(each.as_tuple().exponent) for each in divisors)
    if largest <= _LARGEST_TOGETHER:
        together = math.lcm(*(int(each.scaleb(max(scale, 0))) for each in divisors))
        if together <= _LARGEST_TOGETHER:
            return
    raise InvalidArgumentError(
        f"the JSON schema has {len(divisors)} multipleOf, and allOf, anyOf, oneOf or $ref beside other keywords, so "
        "that one number may have to be a multiple of several. Their least common multiple, without the decimal point, "
        f"may be at most {_LARGEST_TOGETHER}: leave some out, and check the numbers when they are there"
    )


def _entries(schema: Any) -> Iterator[tuple[str, Any]]:
    for each in _objects(schema):
        yield from each.items()


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema, and every object in it."""
    left = [schema]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left += value.values()
        elif isinstance(value, list):
            left += value
