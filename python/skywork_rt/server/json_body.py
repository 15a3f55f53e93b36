"""Bodies of requests: JSON objects, read strictly."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, NoReturn

from skywork_rt.server.errors import ApiError

__all__ = ["MOST_DEPTH", "nests_deeper", "parse_object"]

_MOST_DIGITS = 40
MOST_DEPTH = 64
"""Levels of objects and arrays in one another. The interpreter's own limit is the host program's to set."""


def parse_object(body: bytes) -> dict[str, Any]:
    """The object that a body holds. Raises ApiError 400 for anything else, and for what JSON readers differ on:
    duplicate keys, NaN and infinities, numbers beyond a double, lone surrogates, deep nesting."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refusal(f"The body is not UTF-8: byte {error.start} cannot be read.") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except RecursionError:
        raise _deep() from None
    except ValueError as error:
        raise _refusal(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise _refusal(f"The body is a JSON {_kind(value)}, but must be an object.")
    _check(value, 1)
    return value


def nests_deeper(value: Any, most: int) -> bool:
    """Whether objects and arrays lie in one another on more than so many levels."""
    level = [value]
    for _ in range(most):
        level = [item for each in level for item in _items(each)]
    return any(isinstance(each, dict | list) for each in level)


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refusal(message: str) -> ApiError:
    return ApiError(400, message, code="invalid_json")


def _deep() -> ApiError:
    return _refusal(f"The body's JSON is nested deeper than {MOST_DEPTH} levels.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = counts.most_common(1)[0][0]
        raise _refusal(f"The body's JSON has the key {twice!r:.100} twice in one object.")
    return found


def _constant(text: str) -> NoReturn:
    raise _refusal(f"The body's JSON has {text}, which is no number of JSON.")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _refusal(f"The body's JSON has {text:.40}, which no double holds.")
    return value


def _int(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise _refusal(f"The body's JSON has a whole number of {len(text)} digits; give at most {_MOST_DIGITS}.")
    return int(text)


def _check(value: Any, depth: int) -> None:
    """Refuses deep nesting and texts that UTF-8 cannot carry."""
    if depth > MOST_DEPTH:
        raise _deep()
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            if not isinstance(item, int | float):
                _check(item, depth + 1)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _refusal(f"A text has a lone surrogate at index {error.start}, which is no character.") from None


def _kind(value: object) -> str:
    kinds = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null")
