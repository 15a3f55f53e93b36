"""Random JSON schemas of what users write: nested objects, arrays with bounds, references, and so on."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_NAMES = ("name", "age", "Größe", "is_ok", "tags", "a b", "x-1", "价格", 'quo"te', "id")
_PATTERNS = ("^[a-z]{2,6}$", "^[A-Z][a-z]*-[0-9]{2}$", "ab+c", "^(north|south)-(east|west)$", r"^\S{1,5}$")
_FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "duration")
_DEEPEST = 3


def random_schema(seed: int) -> Schema:
    """Schema number `seed`, the same for ever."""
    return _Maker(random.Random(seed)).whole()


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._defs: dict[str, Schema] = {}

    def whole(self) -> Schema:
        schema = self._object(0) if self._rng.random() < 0.7 else self._any(0)
        if self._defs:
            schema = {**schema, "$defs": self._defs}
        if self._rng.random() < 0.2:
            schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Answer", **schema}
        return schema

    def _any(self, depth: int) -> Schema:
        simple: list[Callable[[int], Schema]] = [
            self._string, self._integer, self._number, self._enum, self._const, self._plain, self._several_types,
        ]  # fmt: skip
        nested: list[Callable[[int], Schema]] = [
            self._object, self._array, self._tuple, self._any_of, self._reference, self._all_of, self._one_of,
            self._recursive,
        ]  # fmt: skip
        return self._rng.choice(simple if depth >= _DEEPEST else simple + nested)(depth)

    def _object(self, depth: int) -> Schema:
        names = self._rng.sample(_NAMES, self._rng.randint(1, 4))
        schema: Schema = {"type": "object", "properties": {name: self._any(depth + 1) for name in names}}
        schema["required"] = [name for name in names if self._rng.random() < 0.6]
        more = self._rng.random()
        if more < 0.6:
            schema["additionalProperties"] = False
        elif more < 0.8:
            schema["additionalProperties"] = self._any(_DEEPEST)
        if self._rng.random() < 0.1:
            schema["description"] = "What it is for."
        return schema

    def _array(self, depth: int) -> Schema:
        least = self._rng.randint(0, 2)
        schema = {"type": "array", "items": self._any(depth + 1), "minItems": least}
        if self._rng.random() < 0.8:
            schema["maxItems"] = least + self._rng.randint(0, 3)
        return schema

    def _tuple(self, depth: int) -> Schema:
        return {"type": "array", "prefixItems": [self._any(depth + 1) for _ in range(2)], "items": False, "minItems": 2}

    def _string(self, _depth: int) -> Schema:
        kind = self._rng.randrange(4)
        if kind == 0:
            return {"type": "string", "pattern": self._rng.choice(_PATTERNS)}
        if kind == 1:
            return {"type": "string", "format": self._rng.choice(_FORMATS)}
        if kind == 2:
            least = self._rng.randint(0, 4)
            return {"type": "string", "minLength": least, "maxLength": least + self._rng.randint(0, 8)}
        return {"type": "string"}

    def _integer(self, _depth: int) -> Schema:
        schema: Schema = {"type": "integer"}
        least = self._rng.randint(-1000, 1000)
        if self._rng.random() < 0.7:
            schema[self._rng.choice(["minimum", "exclusiveMinimum"])] = least
        if self._rng.random() < 0.7:
            schema[self._rng.choice(["maximum", "exclusiveMaximum"])] = least + self._rng.randint(20, 5000)
        if self._rng.random() < 0.3:
            schema["multipleOf"] = self._rng.choice([2, 5, 7])
        return schema

    def _number(self, _depth: int) -> Schema:
        least = self._rng.randint(-100, 100) / 4
        schema: Schema = {"type": "number", "minimum": least, "maximum": least + self._rng.randint(1, 1000) / 8}
        return schema if self._rng.random() < 0.7 else {"type": "number"}

    def _enum(self, _depth: int) -> Schema:
        values = ["red", "grün", 'a"b\\c', "", 1, -2.5, True, None, [1, "x"], {"k": [None]}]
        return {"enum": self._rng.sample(values, self._rng.randint(1, 5))}

    def _const(self, _depth: int) -> Schema:
        return {"const": self._rng.choice(["fixed", 0, {"a": 1, "b": [True]}, [], "多字节"])}

    def _plain(self, _depth: int) -> Schema:
        return {"type": self._rng.choice(["boolean", "null", "string", "number", "integer"])}

    def _several_types(self, _depth: int) -> Schema:
        return {"type": self._rng.sample(["string", "null", "boolean", "integer"], 2)}

    def _any_of(self, depth: int) -> Schema:
        return {"anyOf": [self._any(depth + 1) for _ in range(self._rng.randint(2, 3))]}

    def _one_of(self, depth: int) -> Schema:
        return {"oneOf": [self._object(depth + 1), {"type": "null"}, {"type": "boolean"}]}

    def _all_of(self, _depth: int) -> Schema:
        left = {"type": "object", "properties": {"left": self._any(_DEEPEST)}, "required": ["left"]}
        right = {"type": "object", "properties": {"right": self._any(_DEEPEST)}, "required": ["right"]}
        return {"allOf": [left, right]}

    def _reference(self, depth: int) -> Schema:
        name = f"part{len(self._defs)}"
        self._defs[name] = {}  # the name is taken
        self._defs[name] = self._any(depth + 1)
        return {"$ref": f"#/$defs/{name}"}

    def _recursive(self, _depth: int) -> Schema:
        name = f"tree{len(self._defs)}"
        again = {"$ref": f"#/$defs/{name}"}
        self._defs[name] = {
            "type": "object",
            "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"type": "null"}, again]}},
            "required": ["value", "next"],
            "additionalProperties": False,
        }
        return again
