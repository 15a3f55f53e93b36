"""Pieces of grammars in llguidance's dialect of Lark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from skywork_rt.tool_calls.function import Function, Wanted

__all__ = ["Lark", "calls_behind", "closed", "free_text", "listed_calls"]

_WRITTEN = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON as templates write it, which the model has seen in training; and no spaces without end."""


class Lark:
    """Writes literals and schemas. `special`: ids of special tokens by their texts."""

    def __init__(self, special: Mapping[str, int] | None = None) -> None:
        self._special = dict(special or {})

    def is_special(self, text: str) -> bool:
        return text in self._special

    def text(self, text: str) -> str:
        """Exactly this text; a special token of the model where it is one."""
        if text in self._special:
            return f"<[{self._special[text]}]>"
        return json.dumps(text, ensure_ascii=False)

    def arguments(self, function: Function, *, free: bool) -> str:
        """A function's arguments. free: only functions that are strict are kept to their schemas."""
        schema = function.parameters if function.strict or not free else {}
        return "%json " + json.dumps({**closed(schema), "x-guidance": _WRITTEN}, ensure_ascii=False)


def calls_behind(lark: Lark, wanted: Wanted, *, key: str = "arguments") -> str:
    """The rule `call`: an object of a name and, under `key`, arguments of one of the functions."""
    names = [f"f_{index}" for index in range(len(wanted.functions))]
    rules = [f"call: {' | '.join(names)}"]
    for name, function in zip(names, wanted.functions, strict=True):
        head = lark.text(f'{{"name": {json.dumps(function.name)}, "{key}": ')
        rules.append(f'{name}: {head} {name}_arguments "}}"')
        rules.append(f"{name}_arguments: {lark.arguments(function, free=wanted.free)}")
    return "\n".join(rules)


def free_text(lark: Lark, marker: str, body: str, most: int | None) -> str:
    """What follows `start:`, and more rules: free text, in which each marker begins a call. With `most` the call ends
    the answer."""
    text = "TEXT: /(.|\\n)*/"
    if lark.is_special(marker):  # no text can hold it
        start = "(TEXT? head)* TEXT?" if most is None else "TEXT? head?"
        return f"{start}\nhead: {lark.text(marker)} {body}\n{text}"
    start = f"(head {body})* tail" if most is None else f"tail | head {body}"
    return f"{start}\ntail: TEXT\nhead[lazy]: TEXT {lark.text(marker)}\n{text}"


def listed_calls(lark: Lark, wanted: Wanted, marker: str, before: str, behind: str) -> str:
    """The grammar of a list of all calls behind one marker. before, behind: what stands about the list."""
    more = ' (", " call)*' if wanted.most is None else ""
    body = f'{before} "[" call{more} "]" {behind}'.strip()
    start = free_text(lark, marker, body, 1) if wanted.free else f"{lark.text(marker)} {body}"
    return f"start: {start}\n{calls_behind(lark, wanted)}"


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of objects. Objects whose properties it lists have no others unless it says so: nobody wants arguments
    that a function does not know. Left alone is what is combined with other schemas, which may add properties."""
    result = _closed(schema)
    result.setdefault("type", "object")
    return result


_COMBINING = ("allOf", "anyOf", "oneOf", "not", "if", "$ref", "patternProperties", "unevaluatedProperties")


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(schema)
    if any(name in result for name in _COMBINING):
        return result
    properties = result.get("properties")
    if isinstance(properties, Mapping):
        result["properties"] = {name: _closed_any(value) for name, value in properties.items()}
        result.setdefault("additionalProperties", False)
    if "items" in result:
        result["items"] = _closed_any(result["items"])
    return result


def _closed_any(value: Any) -> Any:
    return _closed(value) if isinstance(value, Mapping) else value
