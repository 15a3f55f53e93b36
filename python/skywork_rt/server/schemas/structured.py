"""What an answer must look like, in OpenAI's fields and in vLLM's: all come to one Grammar.

OpenAI's `response_format` (and `text.format` of /v1/responses), vLLM's `structured_outputs`, and the older `guided_*`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.grammar.dialect import grammar_of_text
from skywork_rt.grammar.grammar import Grammar
from skywork_rt.server.errors import ApiError, wrong
from skywork_rt.server.schemas.base import Schema

__all__ = ["RESPONSE_FORMAT", "Structured", "Wanted", "wanted_format", "wanted_of"]

_SCHEMA_OR_TEXT = {"anyOf": [{"type": "object"}, {"type": "string"}]}
_CHOICE = {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}
_STRUCTURED = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "json": _SCHEMA_OR_TEXT,
        "regex": {"type": "string"},
        "choice": _CHOICE,
        "grammar": {"type": "string"},
        "json_object": {"type": "boolean"},
        "disable_any_whitespace": {"type": "boolean"},
        "whitespace_pattern": {"type": "string"},
    },
}
_NAMED_SCHEMA = {
    "name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
    "description": {"type": "string"},
    "schema": {"type": "object"},
    "strict": {"type": "boolean"},
}
_JSON_SCHEMA = {
    "type": "object",
    "required": ["type", "json_schema"],
    "properties": {
        "type": {"const": "json_schema"},
        "json_schema": {"type": "object", "required": ["name", "schema"], "properties": _NAMED_SCHEMA},
    },
}
_RESPONSE_FORMAT = {
    "anyOf": [
        {"type": "object", "required": ["type"], "properties": {"type": {"enum": ["text", "json_object"]}}},
        _JSON_SCHEMA,
    ]
}

RESPONSE_FORMAT = Annotated[Any, WithJsonSchema(_RESPONSE_FORMAT)]
"""OpenAI's field, whose parts `wanted_of` checks."""


class Structured(Schema):
    """vLLM's fields."""

    structured_outputs: Annotated[Any, WithJsonSchema(_STRUCTURED)] = Field(
        None, description="One of json (a schema), regex, choice, grammar (EBNF or Lark) and json_object (vLLM's)."
    )
    guided_json: Annotated[Any, WithJsonSchema(_SCHEMA_OR_TEXT)] = Field(
        None, description="As structured_outputs.json; vLLM's older name."
    )
    guided_regex: str | None = Field(None, description="As structured_outputs.regex; vLLM's older name.")
    guided_choice: Annotated[Any, WithJsonSchema(_CHOICE)] = Field(
        None, description="As structured_outputs.choice; vLLM's older name."
    )
    guided_grammar: str | None = Field(None, description="As structured_outputs.grammar; vLLM's older name.")


@dataclass(frozen=True)
class Wanted:
    """A grammar, and the field that asks for it."""

    field: str
    grammar: Grammar


def wanted_of(request: Structured) -> Wanted | None:
    """The grammar that a request asks for, if it does. Raises ApiError, with the field, for what is none, for what is
    not there, and for several at once."""
    found = list(_all_wanted(request))
    if len(found) > 1:
        names = " and ".join(each.field for each in found)
        raise ApiError(
            400, f"{names} are given, but an answer can have one form; give one", param=found[1].field, code=_VALUE
        )
    return found[0] if found else None


def wanted_format(value: Any, field: str, *, nested: bool) -> Wanted | None:
    """OpenAI's response_format, whose schema is `nested` in an object of its own, or text.format, where it is not."""
    kind = _object(value, field).get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise wrong(f"{field}.type", f"is {kind!r:.100}, but must be text, json_object or json_schema")
    known = {"type"} if kind != "json_schema" else {"type", "json_schema"} if nested else {"type", *_NAMED_SCHEMA}
    _refuse_unknown(value, known, field)
    if kind == "text":
        return None
    if kind == "json_object":
        return Wanted(field, Grammar.json_object())
    if nested and "json_schema" not in value:
        raise wrong(f"{field}.json_schema", "is missing", "missing_parameter")
    place = f"{field}.json_schema" if nested else field
    return _named_schema(_object(value["json_schema"], place) if nested else value, place, nested)


_OFF = ("disable_additional_properties", "disable_fallback")
"""vLLM's own, which ask for nothing where they are false, as clients that send all fields have them."""
_TYPE, _VALUE = "invalid_type", "invalid_value"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def _all_wanted(request: Structured) -> list[Wanted]:
    found = []
    response_format = getattr(request, "response_format", None)
    if response_format is not None:
        found.append(wanted_format(response_format, "response_format", nested=True))
    text = getattr(request, "text", None)
    if isinstance(text, Mapping) and text.get("format") is not None:
        found.append(wanted_format(text["format"], "text.format", nested=False))
    found += [
        _made(f"guided_{name}", make, value)
        for name, make in _MAKERS.items()
        if (value := getattr(request, f"guided_{name}", None)) is not None
    ]
    if request.structured_outputs is not None:
        found += _of_structured(request.structured_outputs)
    return [each for each in found if each is not None]


def _of_structured(value: Any) -> list[Wanted | None]:
    """vLLM's object, one of whose fields is the grammar."""
    field = "structured_outputs"
    given = {
        name: item
        for name, item in _object(value, field).items()
        if item is not None and not (name in _OFF and item is False)
    }
    _refuse_unknown(given, {*_MAKERS, "json_object", "disable_any_whitespace", "whitespace_pattern"}, field)
    space = _space(given)
    found: list[Wanted | None] = []
    for name, make in _MAKERS.items():
        if name in given:
            value = _with_space(given[name], space) if name == "json" else given[name]
            found.append(_made(f"{field}.{name}", make, value))
    any_object = given.get("json_object", False)
    if not isinstance(any_object, bool):
        raise wrong(f"{field}.json_object", "must be true or false", _TYPE)
    if any_object:
        schema = _with_space({"type": "object"}, space)
        grammar = Grammar.json_schema(schema) if space else Grammar.json_object()
        found.append(Wanted(f"{field}.json_object", grammar))
    if not found:
        names = ", ".join([*_MAKERS, "json_object"])
        raise wrong(field, f"says nothing of the answer; give one of {names}")
    return found


def _space(given: Mapping[str, Any]) -> dict[str, Any]:
    """What vLLM's fields about white space are for the library."""
    field = "structured_outputs"
    compact, pattern = given.get("disable_any_whitespace", False), given.get("whitespace_pattern")
    if not isinstance(compact, bool):
        raise wrong(f"{field}.disable_any_whitespace", "must be true or false", _TYPE)
    if pattern is not None and not isinstance(pattern, str):
        raise wrong(f"{field}.whitespace_pattern", "must be a regular expression", _TYPE)
    if pattern is not None:
        return {"whitespace_pattern": pattern}
    return {"whitespace_flexible": False} if compact else {}


def _with_space(schema: Any, space: dict[str, Any]) -> Any:
    if not space or not isinstance(schema, dict):
        return schema
    return {"x-guidance": space, **schema}


_MAKERS: dict[str, Callable[[Any], Grammar]] = {
    "json": Grammar.json_schema,
    "regex": Grammar.regex,
    "choice": Grammar.choice,
    "grammar": grammar_of_text,
}
"""By vLLM's names."""


def _made(field: str, make: Callable[[Any], Grammar], value: Any) -> Wanted:
    try:
        return Wanted(field, make(value))
    except InvalidArgumentError as error:
        raise ApiError(400, f"{field}: {error}", param=field, code=_VALUE) from None


def _named_schema(value: Mapping[str, Any], field: str, nested: bool) -> Wanted:
    if nested:
        _refuse_unknown(value, set(_NAMED_SCHEMA), field)
    name = value.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        said = "is missing" if name is None else f"is {name!r:.100}"
        code = "missing_parameter" if name is None else _VALUE
        raise wrong(f"{field}.name", f"{said}, but must be 1 to 64 letters, digits, _ or -", code)
    for key, kind, wanted in (("description", str, "a text"), ("strict", bool, "true or false")):
        if not isinstance(value.get(key), kind | None):
            raise wrong(f"{field}.{key}", f"must be {wanted}", _TYPE)
    schema = value.get("schema")
    if schema is None:
        raise wrong(f"{field}.schema", "is missing", "missing_parameter")
    if not isinstance(schema, dict):
        raise wrong(f"{field}.schema", "must be an object", _TYPE)
    return _made(f"{field}.schema", Grammar.json_schema, schema)


def _object(value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise wrong(field, "must be an object", _TYPE)
    return value


def _refuse_unknown(value: Mapping[str, Any], known: set[str], field: str) -> None:
    for name in value:
        if name not in known:
            said = f"is not there; known are {', '.join(sorted(known))}"
            raise wrong(f"{field}.{name:.100}", said, "unsupported_parameter")
