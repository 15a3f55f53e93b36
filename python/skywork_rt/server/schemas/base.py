"""Reading an object strictly into a schema, with errors as OpenAI writes them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from skywork_rt.server.errors import ApiError
from skywork_rt.server.schemas.openai_fields import HARMLESS, REFUSED

__all__ = ["Schema", "parse"]


class Schema(BaseModel):
    """The fields of a request that we act on. Those of OpenAI that we do not are in `openai_fields`."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())

    engine_names: ClassVar[Mapping[str, str]] = {}
    """What the engine's messages call a field of another name here."""

    model: str | None = None
    """Name of the model. It may be left out where the server has one only."""


S = TypeVar("S", bound=Schema)


def parse(schema: type[S], given: Mapping[str, Any], *, lenient: bool) -> S:
    """The object as its schema reads it; null counts as not given. Raises ApiError 400 that names the field."""
    values = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in schema.model_fields:
            values[name] = value
        elif name in HARMLESS:
            continue
        elif name in REFUSED:
            _refuse(name, value)
        elif not lenient:
            raise _unknown(schema, name)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _wrong(error) from None


def _refuse(name: str, value: Any) -> None:
    """Refuses what would change the answer and is not done; what would change nothing passes."""
    rule = REFUSED[name]
    if value not in rule.neutral:
        raise ApiError(400, f"{name}: {rule.reason}", param=name, code="unsupported_parameter")


def _unknown(schema: type[Schema], name: str) -> ApiError:
    near = difflib.get_close_matches(name, schema.model_fields, n=1)
    hint = f" Did you mean {near[0]}?" if near else " Leave it out, or start the server with --lenient."
    return ApiError(400, f"Unknown field: {name:.100}.{hint}", param=name[:100], code="unknown_parameter")


def _wrong(error: ValidationError) -> ApiError:
    """The first mistake; of the ways through a union of types, those that came furthest into the value."""
    found = error.errors(include_url=False, include_input=False)
    first = [each for each in found if each["loc"][:1] == found[0]["loc"][:1]]
    furthest = max(_depth(each["loc"]) for each in first)
    told = [each for each in first if _depth(each["loc"]) == furthest]
    field = _field(told[0]["loc"])
    if told[0]["type"] == "missing":
        return ApiError(400, f"{field} is missing", param=field, code="missing_parameter")
    reasons = dict.fromkeys(each["msg"].removeprefix("Value error, ").removeprefix("Input ") for each in told)
    return ApiError(400, f"{field} {', or '.join(reasons)}", param=field, code="invalid_type")


def _depth(path: Sequence[int | str]) -> int:
    return sum(isinstance(part, int) for part in path)


def _field(path: Sequence[int | str]) -> str:
    """`stop[1]`: the library's names for the ways through a union are no part of it."""
    field = str(path[0])
    for part in path[1:]:
        if isinstance(part, int):
            field += f"[{part}]"
        elif part.isidentifier() and part not in _KINDS:
            field += f".{part}"
    return field


_KINDS = frozenset({"str", "int", "float", "bool", "list", "dict"})
