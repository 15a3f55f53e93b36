"""The functions that a request offers, read strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from skywork_rt.server.errors import wrong
from skywork_rt.server.json_body import nests_deeper
from skywork_rt.tool_calls.function import Function

__all__ = ["MOST_TOOLS", "NAME_PATTERN", "check_name", "function_of", "nested", "template_tool"]

MOST_TOOLS = 128
NAME_PATTERN = r"[A-Za-z0-9_.-]{1,64}"
"""Of the names of functions, as a whole."""
_MOST_DEPTH = 32
_MOST_BYTES = 1 << 16
_NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}}


def nested(tool: Any, where: str) -> dict[str, Any]:
    """A tool as chats have it: {"type": "function", "function": {…}}. Responses have the function's fields beside
    `type`, which is read, too. Raises ApiError."""
    if not isinstance(tool, Mapping):
        raise wrong(where, "must be an object of type and function", "invalid_type")
    kind = tool.get("type")
    if kind != "function":
        raise wrong(f"{where}.type", f"is {kind!r:.60}; only functions are there", "unsupported_parameter")
    if "function" in tool or "name" not in tool:
        return dict(tool)
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def function_of(tool: Mapping[str, Any], where: str) -> Function:
    """The function of a tool. Raises ApiError."""
    given = tool.get("function")
    if not isinstance(given, Mapping):
        raise wrong(f"{where}.function", "must be an object of name, description and parameters", "invalid_type")
    where += ".function"
    for name, kind, said in (("description", str, "a text"), ("strict", bool, "true or false")):
        if not isinstance(given.get(name), kind | None):
            raise wrong(f"{where}.{name}", f"must be {said}", "invalid_type")
    check_name(given.get("name"), f"{where}.name")
    return Function(given["name"], _schema(given.get("parameters"), f"{where}.parameters"), bool(given.get("strict")))


def template_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as chat templates read it: without what is for the server alone."""
    function = {name: value for name, value in tool["function"].items() if value is not None and name != "strict"}
    function.setdefault("parameters", _NOTHING)
    return {**tool, "function": function}


def check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        raise wrong(where, f"is {name!r:.80}, but must be 1 to 64 letters, digits, dots, underscores and dashes")


def _schema(given: Any, where: str) -> Mapping[str, Any]:
    if given is None:
        return _NOTHING
    if not isinstance(given, Mapping):
        raise wrong(where, "must be a JSON schema, an object", "invalid_type")
    if given.get("type", "object") != "object":
        raise wrong(f"{where}.type", f"is {given['type']!r:.60}, but arguments are an object")
    if nests_deeper(given, _MOST_DEPTH):
        raise wrong(where, f"is nested deeper than {_MOST_DEPTH} levels")
    size = len(json.dumps(given))
    if size > _MOST_BYTES:
        raise wrong(where, f"has {size} bytes, but may have {_MOST_BYTES}")
    return given
