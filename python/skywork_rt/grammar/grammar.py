"""A grammar as the caller states it: kept as text, so that it can be hashed, compared, pickled and sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from skywork_rt.errors import InvalidArgumentError

__all__ = ["Grammar", "GrammarKind"]

GrammarKind: TypeAlias = Literal["json_object", "json_schema", "regex", "choice", "lark", "gbnf"]

_KINDS = ("json_object", "json_schema", "regex", "choice", "lark", "gbnf")
_LONGEST = 1 << 20
"""Bytes of a grammar's text: a schema of a megabyte is hundreds of pages, and compiling takes many times as much."""
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Grammar:
    """What an output must look like: made by one of the methods below, given as `SamplingParams(grammar=…)`.

    The model chooses among those tokens alone that keep to it, and the output ends when it is complete. The library
    llguidance follows the grammar (pip install 'skywork-rt[grammar]'). Objects are immutable texts: they can be
    compared, used as keys, pickled, and sent to other processes. What is checked here is types, size and whether JSON
    is JSON; the grammar itself is compiled when a request uses it, and an error there is an InvalidArgumentError.
    """

    kind: GrammarKind
    """Which of the methods made it."""
    text: str
    """The schema as JSON, the regular expression, the choices as a JSON list, or the grammar. Empty for json_object."""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InvalidArgumentError(f"a grammar's kind is {self.kind!r}, but must be one of {', '.join(_KINDS)}")
        _check_text(self.kind, self.text)
        if self.kind == "json_schema":
            _check_schema(self.text)
        if self.kind == "choice":
            _check_choices(_read_json(self.kind, self.text))

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= _LONGEST_SHOWN else self.text[:_LONGEST_SHOWN] + "…"
        return f"Grammar.{self.kind}({text!r})" if self.kind != "json_object" else "Grammar.json_object()"

    @classmethod
    def json_object(cls) -> Grammar:
        """Any JSON object, as OpenAI's `json_object`: keys and values are free."""
        return cls("json_object", "")

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | str) -> Grammar:
        """JSON that a schema (draft 2020-12) allows. `schema`: a dict, or JSON text of one. Properties come in the
        order that the schema gives them. Keywords that cannot be kept are refused when the grammar is used."""
        if isinstance(schema, str):
            return cls("json_schema", schema)
        if not isinstance(schema, Mapping):
            raise InvalidArgumentError(f"a JSON schema is a {type(schema).__name__}, but must be a dict or JSON text")
        return cls("json_schema", _write_json("json_schema", dict(schema)))

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """Text that a regular expression matches as a whole. The syntax is that of Rust's regex crate: no look-around,
        no back-references."""
        return cls("regex", pattern)

    @classmethod
    def choice(cls, options: Iterable[str]) -> Grammar:
        """One of these texts, and nothing else."""
        if isinstance(options, str):
            raise InvalidArgumentError(f"a choice is one str, {options!r:.60}, but must be a list of them")
        try:
            listed = list(options)
        except TypeError:
            raise InvalidArgumentError(f"a choice is a {type(options).__name__}, but must be a list of str") from None
        _check_choices(listed)
        return cls("choice", _write_json("choice", listed))

    @classmethod
    def lark(cls, text: str) -> Grammar:
        """A grammar in llguidance's dialect of Lark, whose first rule is `start`. `%json {…}` embeds a schema, and
        `<|name|>` is a special token of the model."""
        return cls("lark", text)

    @classmethod
    def gbnf(cls, text: str) -> Grammar:
        """A grammar in the EBNF of llama.cpp (GBNF) and of vLLM's `grammar`, whose first rule is `root`."""
        return cls("gbnf", text)

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts of a `choice`; of any other kind there are none."""
        return tuple(json.loads(self.text)) if self.kind == "choice" else ()


def _check_text(kind: str, text: object) -> None:
    if not isinstance(text, str):
        raise InvalidArgumentError(f"a grammar of kind {kind} is a {type(text).__name__}, but must be a str")
    if kind == "json_object":
        if text:
            raise InvalidArgumentError("a grammar of kind json_object has a text, but needs none")
        return
    if not text.strip() and kind != "regex":
        raise InvalidArgumentError(f"the grammar of kind {kind} is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"the grammar of kind {kind} cannot be written as UTF-8: {error}") from None
    if size > _LONGEST:
        raise InvalidArgumentError(f"the grammar of kind {kind} has {size} bytes, but at most {_LONGEST} are possible")
    if "\0" in text:
        raise InvalidArgumentError(f"the grammar of kind {kind} has a NUL character; write it as an escape")


def _check_schema(text: str) -> None:
    schema = _read_json("json_schema", text)
    if not isinstance(schema, dict):
        raise InvalidArgumentError(f"a JSON schema is a JSON {type(schema).__name__}, but must be an object")


def _check_choices(options: object) -> None:
    if not isinstance(options, list) or not options:
        raise InvalidArgumentError("a choice has no options: give at least one str")
    for index, option in enumerate(options):
        if not isinstance(option, str):
            raise InvalidArgumentError(
                f"choice[{index}] is {option!r:.60} ({type(option).__name__}), but must be a str"
            )
        if not option:
            raise InvalidArgumentError(f"choice[{index}] is empty: every option has at least one character")


def _read_json(kind: str, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the grammar of kind {kind} is no JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _write_json(kind: str, value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the grammar of kind {kind} cannot be written as JSON: {error}") from None
