"""What the description says of tools; `server/tools/` reads them."""

from __future__ import annotations

from typing import Any

from pydantic.config import JsonDict

from skywork_rt.server.tools.definitions import MOST_TOOLS, NAME_PATTERN

__all__ = ["CALL", "FLAT_TOOLS", "FLAT_TOOL_CHOICE", "TOOLS", "TOOL_CHOICE"]

_NAME: JsonDict = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
_FUNCTION: JsonDict = {
    "name": _NAME,
    "description": {"type": "string"},
    "parameters": {"type": "object", "properties": {"type": {"const": "object"}}},
    "strict": {"type": "boolean"},
}


def _object(properties: Any, *required: str) -> JsonDict:
    return {"type": "object", "required": list(required), "properties": properties}


_TYPE: JsonDict = {"const": "function"}
_TOOL = _object({"type": _TYPE, "function": _object(_FUNCTION, "name")}, "type", "function")
_FLAT_TOOL = _object({"type": _TYPE, **_FUNCTION}, "type", "name")
_NAMED = _object({"type": _TYPE, "function": _object({"name": _NAME}, "name")}, "type", "function")
_FLAT_NAMED = _object({"type": _TYPE, "name": _NAME}, "type", "name")
_ALLOWED: JsonDict = {"mode": {"enum": ["auto", "required"]}, "tools": {"type": "array", "minItems": 1}}
_WORDS: JsonDict = {"enum": ["none", "auto", "required"]}

CALL = _object(
    {
        "id": {"type": "string"},
        "type": _TYPE,
        "function": _object({"name": _NAME, "arguments": {"type": "string"}}, "name", "arguments"),
    },
    "function",
)
TOOLS: JsonDict = {"items": _TOOL, "maxItems": MOST_TOOLS}
FLAT_TOOLS: JsonDict = {"items": _FLAT_TOOL, "maxItems": MOST_TOOLS}
TOOL_CHOICE: JsonDict = {
    "anyOf": [
        _WORDS,
        _NAMED,
        _object({"type": {"const": "allowed_tools"}, "allowed_tools": _object(_ALLOWED, "mode", "tools")}, "type"),
    ]
}
FLAT_TOOL_CHOICE: JsonDict = {
    "anyOf": [_WORDS, _FLAT_NAMED, _object({"type": {"const": "allowed_tools"}, **_ALLOWED}, "type", "mode", "tools")]
}
