"""Shapes that a graph is compiled for, and how a command line writes them."""

from __future__ import annotations

from skywork_rt.errors import InvalidArgumentError

__all__ = ["LEAST_DYNAMIC_GEARS", "MOST_GEARS", "Gear", "parse_gears"]

Gear = tuple[int, int]
"""Rows of the batch, and tokens of a prompt or positions that a step attends to."""

LEAST_DYNAMIC_GEARS, MOST_GEARS = 2, 100
"""How many CANN takes for ge.dynamicDims. A graph with one shape has its sizes, and no such list."""

_MOST_ROWS, _MOST_TOKENS = 1 << 16, 1 << 24


def parse_gears(text: str, option: str = "--gears") -> tuple[Gear, ...]:
    """The gears of "1x256,4x1024", in their order.

    Raises InvalidArgumentError, which names the option and the part that is no gear, too large or there twice.
    """
    gears = tuple(_gear(part, option) for part in (part.strip() for part in text.split(",")) if part)
    for gear in gears:
        if gears.count(gear) > 1:
            raise InvalidArgumentError(f"{option} names {gear[0]}x{gear[1]} twice")
    return gears


def _gear(part: str, option: str) -> Gear:
    sizes = part.split("x")
    if len(sizes) != 2 or not all(size.isascii() and size.isdecimal() for size in sizes):
        raise InvalidArgumentError(f"{option} has {part!r}; write each as rows x tokens, such as 1x256,4x1024")
    # More digits than the bounds have are not converted: Python refuses very long numbers in its own words.
    rows, tokens = (int(size) if len(size.lstrip("0")) < 10 else _MOST_TOKENS + 1 for size in sizes)
    if not (1 <= rows <= _MOST_ROWS and 1 <= tokens <= _MOST_TOKENS):
        raise InvalidArgumentError(f"{option} has {part[:40]}; rows are 1 to {_MOST_ROWS}, tokens 1 to {_MOST_TOKENS}")
    return rows, tokens
