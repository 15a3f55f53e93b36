"""A grammar in llguidance's terms: the type and the text that its matcher is made of."""

from __future__ import annotations

import json
import re

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.grammar.gbnf import gbnf_to_lark
from skywork_rt.grammar.grammar import Grammar
from skywork_rt.grammar.json_schema import any_object, check_bounds, with_bounded_space

__all__ = ["library_text"]

_LONGEST = {"regex": 16 << 10, "lark": 64 << 10, "gbnf": 64 << 10}
"""Bytes. The library takes the square of a regular expression's length, or its rules' depth of stack."""


def library_text(grammar: Grammar) -> tuple[str, str]:
    """Type and text. Raises InvalidArgumentError for what the library would not survive, or would take minutes for."""
    _check_length(grammar)
    match grammar.kind:
        case "json_object":
            return "json_schema", any_object()
        case "json_schema":
            return "json_schema", with_bounded_space(grammar.text)
        case "regex":
            return "regex", grammar.text
        case "choice":
            return "lark", _choice(grammar.choices)
        case "gbnf":
            return "lark", gbnf_to_lark(grammar.text)
        case "lark":
            _check_embedded(grammar.text)
            return "lark", grammar.text


def _check_length(grammar: Grammar) -> None:
    size, most = len(grammar.text.encode()), _LONGEST.get(grammar.kind)
    if most is not None and size > most:
        raise InvalidArgumentError(
            f"the grammar of kind {grammar.kind} has {size} bytes, but at most {most} are possible"
        )


def _choice(options: tuple[str, ...]) -> str:
    """One terminal, which becomes one automaton, however many options there are."""
    return "start: CHOICE\nCHOICE: " + " | ".join(_quoted(option) for option in options) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _check_embedded(text: str) -> None:
    """The schemas within a Lark grammar; one that is no JSON is left for the library to say so."""
    decoder = json.JSONDecoder()
    for found in re.finditer(r"%json\s*", text):
        try:
            schema, _ = decoder.raw_decode(text, found.end())
        except (ValueError, RecursionError):
            continue
        check_bounds(schema)
