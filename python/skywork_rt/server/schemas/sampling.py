"""The sampling fields of requests, made of SamplingParams' own table: a new parameter appears by itself."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, FailFast, Field, WithJsonSchema, create_model

from skywork_rt import _core
from skywork_rt.api.params import SamplingParams
from skywork_rt.server.schemas.base import Schema
from skywork_rt.support.field_table import field_table

__all__ = ["SAMPLING_NAMES", "sampling_values", "with_sampling"]

SAMPLING_NAMES: tuple[str, ...] = tuple(field.name for field in field_table("api/params.py", "SamplingParams"))


def with_sampling(name: str, base: type[Schema], *, without: Collection[str] = ()) -> type[Any]:
    """The schema `base` with every sampling parameter that it does not define itself, and that is not in `without`."""
    hints = get_type_hints(SamplingParams)
    ranges = {row["name"]: row["range"] for row in _core.sampling_fields()}
    fields: dict[str, Any] = {}
    for field in field_table("api/params.py", "SamplingParams"):
        if field.name in base.model_fields or field.name in without:
            continue
        kind = _LOGIT_BIAS if field.name == "logit_bias" else _quick(hints[field.name])
        said = f"{field.text} Must be {ranges[field.name]}." if field.name in ranges else field.text
        fields[field.name] = (kind | None, Field(default=None, description=said))
    return create_model(name, __base__=base, __doc__=base.__doc__, **fields)


def sampling_values(request: Schema) -> dict[str, Any]:
    """The sampling parameters that a request gives, in SamplingParams' names."""
    given = request.model_fields_set
    return {name: getattr(request, name) for name in SAMPLING_NAMES if name in given}


class _Quick(FailFast):
    """The library's own, which a union of types can hold too."""

    def __hash__(self) -> int:
        return hash(type(self))


def _quick(kind: Any) -> Any:
    """The type, whose lists are left at their first wrong item: a body may hold a million of them."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Sequence or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return Annotated[list[_quick(arguments[0])], _Quick()]  # type: ignore[misc]
    if arguments and origin is not Mapping:
        result = _quick(arguments[0])
        for argument in arguments[1:]:
            result = result | _quick(argument)
        return result
    return kind


def _bias(value: Any) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise ValueError("must be an object of token ids and numbers")
    biases: dict[int, float] = {}
    for key, bias in value.items():
        if not (isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10):
            raise ValueError(f"has {key!r:.40}, which is no token id")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not math.isfinite(bias):
            raise ValueError(f"has no number for token {key}")
        biases[int(key)] = float(bias)
    return biases


_LOGIT_BIAS = Annotated[
    dict[int, float],
    BeforeValidator(_bias),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "number"}}),
]
