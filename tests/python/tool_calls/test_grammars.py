"""What a format's grammar lets through is what its reader reads as calls: random walks through each grammar."""

from __future__ import annotations

import json
import random

import jsonschema
import llguidance
import llguidance.numpy
import numpy as np
import pytest

from skywork_rt.tool_calls.format import Format
from skywork_rt.tool_calls.function import Function, Wanted
from skywork_rt.tool_calls.lark import Lark
from skywork_rt.tool_calls.parser import ParsedAnswer, parse_tool_calls
from skywork_rt.tool_calls.table import FORMATS

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Oslo", "西安", 'a"}]</tool_call>[ARGS]; {']},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "units": {"type": "array", "items": {"enum": ["C", "F"]}, "maxItems": 2},
        "more": {"type": "object", "properties": {"x": {"type": "boolean"}}},
    },
    "required": ["city", "days"],
}
SCHEMAS = {"get_weather": WEATHER, "get.time": {"type": "object", "properties": {}, "additionalProperties": False}}
FUNCTIONS = [Function(name, schema, strict=True) for name, schema in SCHEMAS.items()]
BYTES = llguidance.LLTokenizer("byte")
MOST_BYTES = 2000


def walk(format: type[Format], wanted: Wanted, seed: int, begun: str = "") -> str:
    """A random text of the grammar that begins like this; it ends where it may, every other time."""
    grammar = llguidance.LLMatcher.grammar_from_lark(format.grammar(wanted, Lark()))
    matcher = llguidance.LLMatcher(BYTES, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    drawn, mask = random.Random(seed), llguidance.numpy.allocate_token_bitmask(1, BYTES.vocab_size)
    taken = list(begun.encode())
    assert matcher.consume_tokens(taken), (format.name, begun, "is not allowed")
    for _ in range(MOST_BYTES):
        if matcher.is_stopped() or (matcher.is_accepting() and drawn.random() < 0.5):
            return bytes(taken).decode()
        llguidance.numpy.fill_next_token_bitmask(matcher, mask, 0)
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")[:256])
        taken.append(int(drawn.choice(allowed)))
        assert matcher.consume_tokens(taken[-1:])
    raise AssertionError(f"no end in {MOST_BYTES} bytes: {bytes(taken)!r}")


def read(format: type[Format], text: str) -> ParsedAnswer:
    answer = parse_tool_calls(text, format.name, SCHEMAS)
    for call in answer.calls:
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
    return answer


@pytest.mark.parametrize("format", FORMATS, ids=[each.name for each in FORMATS])
def test_forced_calls_of_each_format_are_read_and_keep_to_their_schemas(format: type[Format]) -> None:
    counts, names = set(), set()
    for seed in range(8):
        answer = read(format, walk(format, Wanted(FUNCTIONS), seed))
        assert answer.calls and not answer.content
        counts.add(len(answer.calls))
        names |= {call.name for call in answer.calls}
        one = read(format, walk(format, Wanted(FUNCTIONS[:1], most=1), seed))
        assert [call.name for call in one.calls] == ["get_weather"] and not one.content
    assert max(counts) > 1 and names == set(SCHEMAS)


BEGUN = {"hermes": "I look.<tool_call>", "smollm2": "I look.<tool_call>", "llama3": '{"name'}
BEGUN |= {"mistral": "I look.[TOOL_CALLS]", "mistral_args": "I look.[TOOL_CALLS]"}


@pytest.mark.parametrize("format", FORMATS, ids=[each.name for each in FORMATS])
def test_a_call_that_the_model_begins_by_itself_keeps_to_a_strict_schema(format: type[Format]) -> None:
    for seed in range(5):
        text = walk(format, Wanted(FUNCTIONS, free=True, most=1), seed, BEGUN[format.name])
        answer = read(format, text)
        assert len(answer.calls) == 1
        assert answer.content == ("" if format.name == "llama3" else "I look.")
    assert walk(format, Wanted(FUNCTIONS, free=True), 0, "Hello.\n").startswith("Hello.\n")
