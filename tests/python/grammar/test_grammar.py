"""A grammar as a value: made, compared, sent, and refused at first sight."""

from __future__ import annotations

import json
import pickle
import re
from typing import Any

import pytest

from skywork_rt import Grammar, InvalidArgumentError, SamplingParams
from skywork_rt.grammar.dialect import grammar_of_text
from skywork_rt.grammar.gbnf import gbnf_to_lark
from skywork_rt.grammar.library_text import library_text

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
EACH = [
    Grammar.json_object(), Grammar.json_schema(SCHEMA), Grammar.json_schema(json.dumps(SCHEMA)), Grammar.regex("a+"),
    Grammar.choice(["yes", "no"]), Grammar.lark('start: "a"'), Grammar.gbnf('root ::= "a"'),
]  # fmt: skip


@pytest.mark.parametrize("grammar", EACH, ids=repr)
def test_a_grammar_is_a_value(grammar: Grammar) -> None:
    assert pickle.loads(pickle.dumps(grammar)) == grammar
    assert hash(pickle.loads(pickle.dumps(grammar))) == hash(grammar)
    assert repr(grammar).startswith(f"Grammar.{grammar.kind}(")
    params = SamplingParams(grammar=grammar, temperature=0)
    assert pickle.loads(pickle.dumps(params)) == params
    assert params.replace(temperature=1).grammar is grammar
    assert "grammar" not in params.to_core(), "the core gets it compiled"
    library_text(grammar)


def test_a_schema_keeps_the_order_of_its_properties() -> None:
    kind, text = library_text(Grammar.json_schema(SCHEMA))
    assert kind == "json_schema"
    assert list(json.loads(text)["properties"]) == ["b", "a"]
    assert Grammar.json_schema(SCHEMA) == Grammar.json_schema(json.dumps(SCHEMA))


def test_white_space_is_bounded_unless_the_schema_says_otherwise() -> None:
    own = {"x-guidance": {"whitespace_flexible": False}, **SCHEMA}
    _, text = library_text(Grammar.json_schema(own))
    assert json.loads(text) == own
    for grammar in (Grammar.json_object(), Grammar.json_schema(SCHEMA)):
        pattern = json.loads(library_text(grammar)[1])["x-guidance"]["whitespace_pattern"]
        assert re.fullmatch(pattern, "\n" + " " * 40) and not re.fullmatch(pattern, " " * 41)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"multipleOf": 19997}, "b": {"multipleOf": 19993}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"multipleOf": 19997}]}, "b": {"multipleOf": 19993}}},
        {"allOf": [{"multipleOf": 0.25}, {"multipleOf": 0.1}, {"multipleOf": 100}]},
        {"allOf": [{"multipleOf": 1e300}]},
    ],
    ids=range(4),
)
def test_divisors_that_do_not_meet_or_are_small_are_taken(schema: dict[str, Any]) -> None:
    library_text(Grammar.json_schema(schema))


WRONG: list[tuple[Any, str]] = [
    (lambda: SamplingParams(grammar='{"type": "object"}'), "grammar is a str, but must be a Grammar"),  # type: ignore[arg-type]
    (lambda: SamplingParams(grammar=EACH[0], num_beams=2, temperature=0), "num_beams is 2: a grammar follows samples"),
    (lambda: Grammar.json_schema([1]), "is a list, but must be a dict"),  # type: ignore[arg-type]
    (lambda: Grammar.json_schema("[1"), "no JSON: Expecting ',' delimiter: line 1 column 3"),
    (lambda: Grammar.json_schema("[1]"), "a JSON list, but must be an object"),
    (lambda: Grammar.json_schema({"const": float("nan")}), "cannot be written as JSON"),
    (lambda: Grammar.json_schema('{"const": NaN}'), "NaN is no JSON number"),
    (lambda: Grammar.json_schema({"const": {1, 2}}), "cannot be written as JSON"),
    (lambda: Grammar.json_schema('{"a":' * 9999 + "1" + "}" * 9999), "no JSON"),
    (lambda: Grammar.choice([]), "no options"),
    (lambda: Grammar.choice("yes"), "one str"),
    (lambda: Grammar.choice(["a", 1]), r"choice\[1\] is 1 \(int\)"),  # type: ignore[list-item]
    (lambda: Grammar.choice(["a", ""]), r"choice\[1\] is empty"),
    (lambda: Grammar.choice(3), "is a int, but must be a list"),  # type: ignore[arg-type]
    (lambda: Grammar.regex(3), "is a int, but must be a str"),  # type: ignore[arg-type]
    (lambda: Grammar.regex("a\0b"), "NUL"),
    (lambda: Grammar.regex("\ud800"), "cannot be written as UTF-8"),
    (lambda: Grammar.lark(" \n"), "is empty"),
    (lambda: Grammar.lark("x" * (2 << 20)), "at most 1048576"),
    (lambda: Grammar("xml", "x"), "kind is 'xml', but must be one of"),  # type: ignore[arg-type]
    (lambda: library_text(Grammar.regex("a" * 20000)), "20000 bytes, but at most 16384"),
    (lambda: library_text(Grammar.json_schema({"multipleOf": 0.1234567})), "multipleOf of 0.1234567"),
    (lambda: library_text(Grammar.json_schema({"a": [{"pattern": "a" * 20000}]})), "pattern of 20000 characters"),
    (lambda: library_text(Grammar.lark('start: %json {"multipleOf": 9999991}')), "multipleOf of 9999991"),
    (
        lambda: library_text(Grammar.json_schema({"allOf": [{"multipleOf": 19997}, {"multipleOf": 19993}]})),
        "2 multipleOf",
    ),
    (lambda: library_text(Grammar.json_schema({"multipleOf": 19997, "anyOf": [{"multipleOf": 1e-9}]})), "2 multipleOf"),
    (
        lambda: library_text(Grammar.json_schema({"$ref": "#/a", "multipleOf": 70000, "a": {"multipleOf": 90000}})),
        "2 multipleOf",
    ),
]


@pytest.mark.parametrize(("make", "reason"), WRONG, ids=[reason[:40] for _, reason in WRONG])
def test_what_is_no_grammar_is_refused_at_first_sight(make: Any, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        make()


def test_the_notation_of_a_grammar_is_told_by_its_first_rule() -> None:
    assert grammar_of_text('root ::= "a"').kind == "gbnf"
    assert grammar_of_text('# begins\nroot ::= "start: x"').kind == "gbnf"
    assert grammar_of_text('X: "a"\nstart: X').kind == "lark"
    assert grammar_of_text("%llguidance {}\nstart : /a/").kind == "lark"


def test_gbnf_becomes_lark() -> None:
    text = 'root ::= ws "a\\"b" (item | list){2,3} # why\n  | [^\\]x-z\\n-]* .\nws ::= " "?\nitem-1 ::= "x"\n'
    text += 'item ::= "\\x41\\u4e2d" item-1+\nlist ::= "(" list? ")"'
    assert gbnf_to_lark(text) == (
        'start: r_0\nr_0: T_1 "a\\"b" (T_2 | r_3){2,3} | /[^\\u{5d}\\u{78}-\\u{7a}\\u{a}\\u{2d}]/* /(?s:.)/\n'
        'T_1: " "?\nT_4: "x"\nT_2: "A中" T_4+\nr_3: "(" r_3? ")"\n'
    )


GBNF_WRONG = [
    ('root ::= "a', "line 1, column 10: .* cannot be read"),
    ('root ::= "a"\nb := "c"', "line 2, column 3: .* cannot be read"),
    ('root ::= "a"\nroot ::= "b"', "line 2, column 1: 'root' is defined twice"),
    ("root ::= a", "line 1, column 10: 'a' is not defined"),
    ('a ::= "x"', "no rule root"),
    ('root ::= ("a"', r"line 1, column 10: '\(' is not closed"),
    ('root ::= "a")', r"'\)' is no rule"),
    ('root ::= "a"{3,2}', "the wrong way round"),
    ('root ::= "a"{}', "has no number"),
    ("root ::= []", "has no characters"),
    ('root ::= "\\xg1"', "without 2 hexadecimal digits"),
    ('root ::= "\\ud800"', "which is no character"),
    ('root ::= * "a"', r"'\*' does not belong here"),
    ("root ::= " + "(" * 300 + '"a"' + ")" * 300, "nested deeper than 200"),
    ('"a"', "is no rule"),
    ('root "a"', "::= must"),
]


@pytest.mark.parametrize(("text", "reason"), GBNF_WRONG, ids=[reason[:40] for _, reason in GBNF_WRONG])
def test_a_mistake_in_gbnf_is_told_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        library_text(Grammar.gbnf(text))
