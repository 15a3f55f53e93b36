"""Calls are read as each format writes them, and nothing of an answer is lost, wherever its text is cut."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.tool_calls.events import ArgumentsText, CallBegun, CallWithdrawn, ContentText, Event
from skywork_rt.tool_calls.parser import ParsedAnswer, ToolCallParser, parse_tool_calls
from skywork_rt.tool_calls.table import FORMATS

F, G = ("f", '{"a": 1}'), ("g", '{"b": ["x", {"y": null}]}')
T = "<tool_call>"
E = "</tool_call>"
M = "[TOOL_CALLS]"
P = "<|python_tag|>"

Call = tuple[str, str]
GOOD: list[tuple[str, str, str, list[Call]]] = [
    ("hermes", T + '\n{"name": "f", "arguments": {"a": 1}}\n' + E, "", [F]),
    ("hermes", T + '{"name":"f","arguments":{"a": 1}}' + E, "", [F]),
    ("hermes", f'Let me see.\n{T}\n{{"name": "f", "arguments": {{"a": 1}}}}\n{E}\n', "Let me see.", [F]),
    (
        "hermes",
        f'\n{T}\n{{"name": "f", "arguments": {{"a": 1}}}}\n{E}\n{T}\n'
        f'{{"name": "g", "arguments": {{"b": ["x", {{"y": null}}]}}}}\n{E}',
        "",
        [F, G],
    ),
    ("hermes", T + '{"arguments": {"a": 1}, "name": "f"}' + E, "", [F]),
    ("hermes", T + '{"id": [1, {"z": "}"}], "name": "f", "arguments": {"a": 1}, "more": "x"}' + E, "", [F]),
    ("hermes", T + '{"name": "f", "parameters": {"a": 1}}' + E, "", [F]),
    ("hermes", T + '{"name": "f", "arguments": "{\\"a\\": 1}"}' + E, "", [F]),
    ("hermes", T + '{"arguments": "{\\"a\\": 1}", "name": "f"}' + E, "", [F]),
    ("hermes", T + '{"name": "f"}' + E, "", [("f", "{}")]),
    ("hermes", T + '{"name": "f", "arguments": null}' + E, "", [("f", "{}")]),
    ("hermes", T + '{"name": "f", "arguments": {}}', "", [("f", "{}")]),
    ("hermes", T + '{"name": "f", "arguments": {"a": 1}}' + E + " Done. ", " Done. ", [F]),
    ("hermes", T + '{"name": "f", "arguments": {"a": 1}} and ' + E, " and " + E, [F]),
    (
        "hermes",
        T + '{"name": "f", "arguments": {"s": "</tool_call> \\" \\u00e9 谢", "n": -1.5e+3, "t": true}}' + E,
        "",
        [("f", '{"s": "</tool_call> \\" \\u00e9 谢", "n": -1.5e+3, "t": true}')],
    ),
    ("hermes", T + '{"name": "f", "arguments": {  "a" :1 ,"b":[ ] }}' + E, "", [("f", '{  "a" :1 ,"b":[ ] }')]),
    ("smollm2", T + '[{"name": "f", "arguments": {"a": 1}}]' + E, "", [F]),
    (
        "smollm2",
        T + '[\n{"name": "f", "arguments": {"a": 1}},\n{"name": "g", "arguments": {"b": ["x", {"y": null}]}}\n]' + E,
        "",
        [F, G],
    ),
    ("smollm2", T + '{"name": "f", "arguments": {"a": 1}}' + E, "", [F]),
    ("smollm2", T + '[{"name": "f", "arguments": {"a": 1}}', "", [F]),
    ("llama3", '{"name": "f", "parameters": {"a": 1}}', "", [F]),
    ("llama3", '\n {"name": "f", "parameters": {"a": 1}}\n', "", [F]),
    ("llama3", P + '{"name": "f", "parameters": {"a": 1}}', "", [F]),
    ("llama3", "Let me see. " + P + '{"name": "f", "arguments": {"a": 1}}', "Let me see.", [F]),
    (
        "llama3",
        '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {"b": ["x", {"y": null}]}}',
        "",
        [F, G],
    ),
    (
        "llama3",
        P + '{"name": "f", "parameters": {"a": 1}};' + P + '{"name": "g", "parameters": {"b": ["x", {"y": null}]}}',
        "",
        [F, G],
    ),
    ("llama3", '{"type": "function", "name": "f", "parameters": {"a": 1}}', "", [F]),
    ("mistral", M + ' [{"name": "f", "arguments": {"a": 1}}]', "", [F]),
    ("mistral", M + '[{"name": "f", "arguments": {"a": 1}, "id": "abcdef123"}]', "", [F]),
    (
        "mistral",
        "I look. " + M + ' [{"name": "f", "arguments": {"a": 1}}, '
        '{"name": "g", "arguments": {"b": ["x", {"y": null}]}}]',
        "I look.",
        [F, G],
    ),
    ("mistral_args", M + 'f[ARGS]{"a": 1}', "", [F]),
    ("mistral_args", "I look." + M + 'f[ARGS]{"a": 1}' + M + 'g[CALL_ID]abcdef123[ARGS]{"b": ["x", {"y": null}]}',
     "I look.", [F, G]),
    ("mistral_args", M + 'f{"a": 1}', "", [F]),
]  # fmt: skip

NO_CALLS: list[tuple[str, str]] = [
    *((name, text) for name in [each.name for each in FORMATS] for text in ("", " ", "Hello.\n", "{", "<", "[")),
    ("hermes", "Say <tool_call> and </tool_call>, please."),
    ("hermes", T + '{"name": "h", "arguments": {"a": 1}}' + E),  # nobody knows h
    ("hermes", T + '{"name": "f", "arguments": {"a": }}' + E),
    ("hermes", T + '{"name": "f", "arguments": {"a": "\n"}}' + E),
    ("hermes", T + '{"name": "f", "arguments": {"a": 01}}' + E),
    ("hermes", T + '{"name": "f", "arguments": [1]}' + E),
    ("hermes", T + '{"name": "f", "arguments": "x"}' + E),
    ("hermes", T + '{"name": "f", "arguments": "[]"}' + E),
    ("hermes", T + '{"name": "f", "arguments": "{} {}"}' + E),
    ("hermes", T + '{"name": "f", "arguments": "{\\"a\\": NaN}"}' + E),
    ("hermes", T + '{"name": "f", "arguments": "{\\"a\\": \\"\\ud800\\"}"}' + E),  # half of a character
    ("hermes", T + '{"name": 3, "arguments": {}}' + E),
    ("hermes", T + '{"name": "f", "name": "g", "arguments": {}}' + E),
    ("hermes", T + '{"arguments": {"a": 1}}' + E),
    ("hermes", T + '{"name": "f", "arguments": {"a": 1}'),  # the model has ended in the middle
    ("hermes", T + '{"name": "f", "arguments": {"a": 1'),
    ("hermes", T + '{"name": "f", "arguments": {"a": tru}}' + E),
    ("hermes", T + '{"name": "f", "arguments": {"a": "\\x"}}' + E),
    ("hermes", T + '{"name": "f", "arguments": ' + '{"a":' * 100 + "1" + "}" * 100 + "}" + E),
    ("hermes", "  " + T + "  nothing"),
    ("smollm2", T + "[]" + E),
    ("llama3", '{"name": "f"}'),  # an answer in JSON
    ("llama3", '{"a": 1}'),
    ("llama3", 'Well: {"name": "f", "parameters": {"a": 1}}'),
    ("llama3", '{"name": "f", "parameters": {"a": 1}'),
    ("mistral", M + " f"),
    ("mistral", M + '{"name": "f", "arguments": {}}'),
    ("mistral_args", M + 'h[ARGS]{"a": 1}'),
    ("mistral_args", M + "f[ARGS]"),
    ("mistral_args", M + "f[ARGS]1"),
    ("mistral_args", M + "[ARGS]{}"),
]


def pieces_of(text: str, cuts: Sequence[int]) -> list[str]:
    places = [0, *sorted(cuts), len(text)]
    return [text[begin:end] for begin, end in itertools.pairwise(places)]


def events_of(format: str, pieces: Sequence[str], *, cut: bool = False) -> list[Event]:
    parser = ToolCallParser(format, {"f", "g"})
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish(cut=cut)


def assembled(events: Sequence[Event]) -> tuple[str, list[Call]]:
    answer = ParsedAnswer()
    answer.add(events)
    return answer.content, [(call.name, call.arguments) for call in answer.calls]


@pytest.mark.parametrize(("format", "text", "content", "calls"), GOOD, ids=[f"{g[0]} {g[1][:40]}" for g in GOOD])
def test_calls_are_read(format: str, text: str, content: str, calls: list[Call]) -> None:
    assert assembled(events_of(format, [text])) == (content, calls)
    assert assembled(events_of(format, list(text))) == (content, calls)
    for _, arguments in calls:
        assert isinstance(json.loads(arguments), dict)


@pytest.mark.parametrize(("format", "text"), NO_CALLS, ids=[f"{format} {text[:40]}" for format, text in NO_CALLS])
def test_what_is_no_call_is_content_and_nothing_is_lost(format: str, text: str) -> None:
    assert assembled(events_of(format, [text])) == (text, [])
    assert assembled(events_of(format, list(text))) == (text, [])


ALPHABET = [
    *(
        T,
        E,
        M,
        P,
        "[ARGS]",
        "[CALL_ID]",
        "<tool",
        "[TOOL",
        "{",
        "}",
        "[",
        "]",
        '"',
        ":",
        ",",
        ";",
        " ",
        "\n",
        "\\",
        "é",
    ),
    *('"name": "f"', '"arguments": {', '"parameters": {"a": 1}', '{"name": "f", "arguments": {"a": 1}}', "f", "12"),
    *('{"name": "g", "parameters": {"b": "<tool_call>"}}', "Hello", "true", "\ud7ff"),
]


@pytest.mark.parametrize("format", [each.name for each in FORMATS])
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_an_answer_is_the_same_wherever_its_text_is_cut(format: str, data: st.DataObject) -> None:
    whole = "".join(data.draw(st.lists(st.sampled_from(ALPHABET), max_size=25)))
    if data.draw(st.booleans()):
        good = data.draw(st.sampled_from([text for name, text, _, _ in GOOD if name == format]))
        whole = data.draw(st.sampled_from([good + whole, whole + good, good[:-3] + whole]))
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=12))
    cut = data.draw(st.booleans())
    events = events_of(format, pieces_of(whole, cuts), cut=cut)
    assert assembled(events) == assembled(events_of(format, [whole], cut=cut))
    assert assembled(events) == assembled(events_of(format, list(whole), cut=cut))
    content, calls = assembled(events)
    if not cut:
        assert all(isinstance(json.loads(arguments), dict) for _, arguments in calls)
    if not calls:
        assert content == whole
    for name, arguments in calls:
        assert name in ("f", "g") and (arguments in whole or arguments == "{}" or "\\" in whole)


def test_the_name_comes_first_and_arguments_as_they_come() -> None:
    events = events_of("hermes", ["Hm.", T, '\n{"na', 'me": "f", "arg', 'uments": {"a": "on', "e ", 'two"', "}}\n" + E])
    assert events == [
        ContentText("Hm."),
        CallBegun(0, "f"),
        ArgumentsText(0, '{"a": "on'),
        ArgumentsText(0, "e "),
        ArgumentsText(0, 'two"'),
        ArgumentsText(0, "}"),
    ]


def test_an_answer_in_json_is_not_held_back() -> None:
    pieces = ['{"answer"', ': "Hel', 'lo"', "}"]
    parser = ToolCallParser("llama3", {"f"})
    assert [assembled(parser.feed(piece))[0] for piece in pieces] == ["", '{"answer": "Hel', 'lo"', "}"]


def test_a_call_that_turns_out_to_be_none_is_withdrawn_and_comes_as_content() -> None:
    text = T + '{"name": "f", "arguments": {"a": nonsense}}' + E
    events = events_of("hermes", [text[:40], text[40:]])
    assert [type(event) for event in events] == [CallBegun, ArgumentsText, ArgumentsText, CallWithdrawn, ContentText]
    assert assembled(events) == (text, [])
    broken = T + '[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {]' + E
    assert assembled(events_of("smollm2", list(broken))) == (', {"name": "g", "arguments": {]' + E, [F])


@pytest.mark.parametrize(("format", "text", "content", "calls"), GOOD, ids=[f"{g[0]} {g[1][:40]}" for g in GOOD])
def test_a_call_that_was_cut_by_length_is_one_as_soon_as_its_arguments_have_begun(
    format: str, text: str, content: str, calls: list[Call]
) -> None:
    for end in range(len(text)):
        said, found = assembled(events_of(format, list(text[:end]), cut=True))
        for (name, arguments), whole in zip(found, calls, strict=False):
            assert name == whole[0]
            assert whole[1].startswith(arguments) or arguments == "{}"
        if not found:
            assert said == text[:end]


def test_a_marker_that_is_a_special_token_is_never_content() -> None:
    parser = ToolCallParser("llama3", {"f"}, hidden={P})
    answer = ParsedAnswer()
    answer.add(parser.feed("Try " + P + "print(1)"))
    answer.add(parser.finish())
    assert (answer.content, answer.calls) == ("Try print(1)", [])


def test_a_marker_behind_a_marker_is_one() -> None:
    twice = M + M + '[{"name": "f", "arguments": {"a": 1}}]'
    assert assembled(events_of("mistral", list(twice))) == (M, [F])
    assert assembled(events_of("hermes", [T + '{"name": ' + T + '{"name": "f", "arguments": {"a": 1}}'])) == (
        T + '{"name":',
        [F],
    )


def test_any_function_passes_where_none_are_named() -> None:
    answer = parse_tool_calls(T + '{"name": "what.ever", "arguments": {}}' + E, "hermes")
    assert [call.name for call in answer.calls] == ["what.ever"]
    assert parse_tool_calls(T + '{"name": "\\ud800", "arguments": {}}' + E, "hermes").calls == []


def test_wrong_use_is_told() -> None:
    with pytest.raises(InvalidArgumentError, match="no format of tool calls named 'nonsense'; choose one of smollm2"):
        parse_tool_calls("x", "nonsense")
    with pytest.raises(InvalidArgumentError, match="give either"):
        parse_tool_calls("x")
    with pytest.raises(InvalidArgumentError, match="give a format by name"):
        parse_tool_calls("x", template="{{ messages }}")
    parser = ToolCallParser("hermes")
    parser.finish()
    with pytest.raises(InvalidArgumentError, match="is over"):
        parser.feed("x")


def test_long_answers_take_time_in_proportion() -> None:
    """A hundred thousand characters, each of which might begin something."""
    for text in ("<tool_call>" * 9000, '<tool_call>{"name": "f", "arguments": {"a": "' * 2500, "<" * 100_000):
        events = events_of("hermes", [text[i : i + 4] for i in range(0, len(text), 4)])
        assert assembled(events) == (text, [])
