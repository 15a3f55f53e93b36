"""Tools over HTTP: real models, the real `openai` client, whole answers and streams."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pydantic
import pytest
from serving import Serving, serving
from tool_models import MARKER, TAG, llama3_bundle, mistral_bundle

from skywork_rt import Generator, InvalidArgumentError
from skywork_rt.server.settings import ServerSettings
from skywork_rt.tool_calls.table import FORMATS

pytestmark = pytest.mark.slow

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "The city."}},
    "required": ["city"],
}
BOUNDED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Oslo", "Bonn", "西安"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "units": {"type": "array", "items": {"enum": ["C", "F"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["city", "days"],
}


def tool(name: str, parameters: dict[str, Any] | None = None, **more: Any) -> Any:
    function = {"name": name, "description": f"Does {name}.", **({"parameters": parameters} if parameters else {})}
    return {"type": "function", "function": {**function, **more}}


WEATHER, BOUNDED_WEATHER, TIME = tool("get_weather", CITY), tool("get_weather", BOUNDED), tool("get_time")


def asked(*cities: str) -> list[Any]:
    """A question of one or several cities, and the calls that answer it."""
    calls = [
        {
            "id": f"call_{city}",
            "type": "function",
            "function": {"name": "get_weather", "arguments": f'{{"city": "{city}"}}'},
        }
        for city in cities
    ]
    return [question(*cities), {"role": "assistant", "content": None, "tool_calls": calls}]


def question(*cities: str) -> Any:
    return {"role": "user", "content": f"What is the weather in {' and in '.join(cities)}?"}


ONE: list[Any] = [*asked("Paris"), *asked("London"), question("Rome")]
"""A small model does as it did before."""
TWO: list[Any] = [*asked("Paris", "London"), *asked("Oslo", "Bonn"), question("Rome", "Berlin")]
GREEDY: dict[str, Any] = {"model": "smollm2", "temperature": 0, "max_tokens": 80}


@pytest.fixture(scope="module")
def server(smollm2_bundle: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    models = (
        f"smollm2={smollm2_bundle}",
        f"mistral={mistral_bundle()}",
        f"llama3={llama3_bundle()}",
        f"plain={tiny_bundle}",
    )
    with serving(tmp_path_factory.mktemp("tools"), *models) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base, api_key="none", max_retries=0) as opened:
        yield opened


def calls_in(choice: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]


def assembled(chunks: list[Any]) -> dict[int, dict[str, Any]]:
    """What a client puts together, by choice."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            whole = choices.setdefault(choice.index, {"content": None, "calls": {}, "reason": None, "logprobs": []})
            if choice.delta.content is not None:
                whole["content"] = (whole["content"] or "") + choice.delta.content
            for call in choice.delta.tool_calls or ():
                held = whole["calls"].setdefault(
                    call.index, {"id": call.id, "name": call.function.name, "arguments": ""}
                )
                assert call.id in (None, held["id"]), "the id comes once, with the name"
                held["arguments"] += call.function.arguments or ""
            whole["reason"] = choice.finish_reason or whole["reason"]
            whole["logprobs"] += (choice.logprobs and choice.logprobs.content) or []
    return choices


def test_a_model_that_calls_by_itself_is_understood(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**GREEDY, messages=ONE, tools=[WEATHER, TIME])
    (choice,) = answer.choices
    assert calls_in(choice) == [("get_weather", {"city": "Rome"})]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.tool_calls and choice.message.tool_calls[0].id.startswith("call_")
    (choice,) = client.chat.completions.create(**GREEDY, messages=TWO, tools=[WEATHER]).choices
    assert calls_in(choice) == [("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Berlin"})]
    assert len({call.id for call in choice.message.tool_calls or ()}) == 2


def test_a_stream_gives_the_name_first_and_arguments_as_they_come(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {**GREEDY, "messages": TWO, "tools": [WEATHER], "n": 2, "logprobs": True}
    whole = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    choices = assembled(chunks)
    assert set(choices) == {0, 1}
    for choice in whole.choices:
        streamed, message = choices[choice.index], choice.message
        assert [(call["name"], call["arguments"]) for call in streamed["calls"].values()] == [
            (call.function.name, call.function.arguments) for call in message.tool_calls or ()
        ]
        assert (streamed["content"], streamed["reason"]) == (None, "tool_calls")
        assert choice.logprobs is not None and choice.logprobs.content is not None
        assert [entry.logprob for entry in streamed["logprobs"]] == [entry.logprob for entry in choice.logprobs.content]
    of_first = [c.delta.tool_calls[0] for chunk in chunks for c in chunk.choices if c.index == 0 and c.delta.tool_calls]
    begun = [call for call in of_first if call.id is not None]
    assert [(call.index, call.function.name, call.function.arguments) for call in begun] == [
        (0, "get_weather", ""),
        (1, "get_weather", ""),
    ]
    assert sum(1 for call in of_first if call.index == 0) > 3, "arguments come token by token"
    assert chunks[-1].usage == whole.usage


class Place(pydantic.BaseModel):
    city: str = pydantic.Field(max_length=12)


class Trip(pydantic.BaseModel):
    """Goes somewhere."""

    to: Place
    days: int | None = pydantic.Field(ge=1, le=14)


def test_the_clients_own_helpers_understand_calls(client: openai.OpenAI) -> None:
    """Functions from pydantic's models, which are strict, parsed by the client: whole and as a stream."""
    options: dict[str, Any] = {**GREEDY, "model": "mistral", "max_tokens": 200, "messages": [question("Rome")]}
    options |= {"tools": [openai.pydantic_function_tool(Trip, name="trip")], "tool_choice": "required"}
    options["parallel_tool_calls"] = False
    (choice,) = client.chat.completions.parse(**options).choices
    (call,) = choice.message.tool_calls or ()
    assert isinstance(call.function.parsed_arguments, Trip) and choice.finish_reason == "tool_calls"
    with client.chat.completions.stream(**options) as stream:
        events: list[Any] = list(stream)
        final = stream.get_final_completion().choices[0]
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in done] == [call.function.parsed_arguments]
    (streamed,) = final.message.tool_calls or ()
    assert (streamed.function.name, streamed.function.arguments) == ("trip", call.function.arguments)
    assert final.finish_reason == "tool_calls"


def test_a_stream_sends_nothing_while_what_may_be_a_call_is_held_back(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**GREEDY, messages=ONE, tools=[WEATHER], stream=True))
    deltas = [chunk.choices[0].delta.model_dump(exclude_none=True) for chunk in chunks]
    assert deltas[0] == {"role": "assistant"} and deltas[-1] == {}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert len(deltas) > 5 and all(delta.keys() == {"tool_calls"} for delta in deltas[1:-1])


def test_a_call_that_was_cut_by_length_says_so(client: openai.OpenAI) -> None:
    short = {**GREEDY, "messages": ONE, "tools": [WEATHER]}
    full = client.chat.completions.create(**short)
    assert full.usage is not None
    for tokens in range(1, full.usage.completion_tokens, 5):
        options = {**short, "max_tokens": tokens}
        (choice,) = client.chat.completions.create(**options).choices
        streamed = assembled(list(client.chat.completions.create(**options, stream=True)))[0]
        assert choice.finish_reason == streamed["reason"] == "length"
        found = [call.function.arguments for call in choice.message.tool_calls or ()]
        assert found == [call["arguments"] for call in streamed["calls"].values()]
        assert (choice.message.content or None) == streamed["content"]
        assert found or "<tool_call>".startswith((choice.message.content or "")[:11])
        assert all('{"city": "Rome"}'.startswith(text) for text in found)


def test_what_is_no_call_of_the_tools_is_content(client: openai.OpenAI) -> None:
    for options in ({"tools": [TIME]}, {"tools": [WEATHER], "tool_choice": "none"}, {}):
        (choice,) = client.chat.completions.create(**GREEDY, messages=ONE, **options).choices
        assert choice.message.tool_calls is None
        assert choice.message.content and "get_weather" in choice.message.content
        assert choice.finish_reason == "stop"
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("get_time")]}}
    (choice,) = client.chat.completions.create(
        **GREEDY, messages=ONE, tools=[WEATHER, TIME], tool_choice=allowed
    ).choices
    assert choice.message.tool_calls is None and choice.finish_reason == "stop"


CALLED = '{"name": "get_weather", "arguments": {"city": "Rome", "n": [1, {"x": "é"}]}}'
BROKEN = '{"name": "get_weather", "arguments": {"city": oops}}'
HALF = '{"name": "get_weather", "arguments": "{\\"city\\": \\"\\ud800\\"}"}'
"""Half of a character, which no answer could hold."""
FIXED: list[tuple[str, str, str | None, list[str]]] = [
    ("smollm2", f"Let me see.\n<tool_call>[{CALLED}]</tool_call>", "Let me see.", [CALLED]),
    ("smollm2", f"<tool_call>[{CALLED}, {CALLED}]</tool_call> Done.", " Done.", [CALLED, CALLED]),
    ("smollm2", f"<tool_call>[{BROKEN}]</tool_call>", f"<tool_call>[{BROKEN}]</tool_call>", []),
    (
        "smollm2",
        f"<tool_call>[{BROKEN}]</tool_call><tool_call>{CALLED}",
        f"<tool_call>[{BROKEN}]</tool_call>",
        [CALLED],
    ),
    ("llama3", CALLED.replace("arguments", "parameters"), None, [CALLED]),
    ("llama3", f"{CALLED}; {CALLED}", None, [CALLED, CALLED]),
    ("llama3", BROKEN, BROKEN, []),
    ("llama3", HALF, HALF, []),
    ("mistral", f"I look. {MARKER} [{CALLED}, {CALLED}]", "I look.", [CALLED, CALLED]),
    ("mistral", f"{MARKER}[{BROKEN}]", f"[{BROKEN}]", []),
]


@pytest.mark.parametrize(("model", "text", "content", "calls"), FIXED, ids=[f"{f[0]} {f[1][:30]}" for f in FIXED])
def test_an_answer_of_any_text_is_read_the_same_whole_and_as_a_stream(
    client: openai.OpenAI, model: str, text: str, content: str | None, calls: list[str]
) -> None:
    """The text is fixed by a grammar of the request's own, which goes together with tools that may be called."""
    options: dict[str, Any] = {"model": model, "messages": [question("Rome")], "tools": [WEATHER], "max_tokens": 400}
    options["extra_body"] = {"structured_outputs": {"choice": [text]}}
    (choice,) = client.chat.completions.create(**options).choices
    wanted = [json.loads(call)["arguments"] for call in calls]
    assert [json.loads(call.function.arguments) for call in choice.message.tool_calls or ()] == wanted
    assert all(call.function.arguments in text for call in choice.message.tool_calls or ()), "as it was written"
    assert (choice.message.content, choice.finish_reason) == (content, "tool_calls" if calls else "stop")
    streamed = assembled(list(client.chat.completions.create(**options, stream=True)))[0]
    assert (streamed["content"], streamed["reason"]) == (content, choice.finish_reason)
    arguments = [call["arguments"] for call in streamed["calls"].values()]
    if BROKEN in text:
        assert arguments.pop(0) == '{"city": ', "it was sent before it showed, and its number is not used again"
    assert arguments == [call.function.arguments for call in choice.message.tool_calls or ()]


def test_a_stop_string_inside_of_a_call_leaves_it_unfinished(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {**GREEDY, "messages": [question("Oslo")], "tools": [BOUNDED_WEATHER], "stop": '"city"'}
    (choice,) = client.chat.completions.create(**options, tool_choice="required").choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert choice.message.content == '<tool_call>[{"name": "get_weather", "arguments": {'


def test_a_grammar_of_the_request_and_one_of_its_tools_exclude_each_other(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="leave one of them out") as caught:
        client.chat.completions.create(
            **GREEDY,
            messages=ONE,
            tools=[WEATHER],
            tool_choice="required",
            response_format={"type": "json_object"},
        )
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize("model", ["smollm2", "mistral", "llama3"])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}], ids=str)
def test_a_call_that_must_be_made_is_made_and_keeps_to_its_schema(
    client: openai.OpenAI, model: str, choice: Any
) -> None:
    """Of a model of random weights, too, at temperature 1."""
    options: dict[str, Any] = {
        "model": model,
        "messages": [question("Oslo")],
        "tools": [BOUNDED_WEATHER, TIME],
        "tool_choice": choice,
        "n": 3 if model == "smollm2" else 8,
        "seed": 5,
        "temperature": 1,
        "max_tokens": 600,
    }
    answer = client.chat.completions.create(**options)
    streamed = assembled(list(client.chat.completions.create(**options, stream=True)))
    for each in answer.choices:
        found = calls_in(each)
        assert each.finish_reason == "tool_calls" and found
        for name, arguments in found:
            jsonschema.validate(arguments, BOUNDED if name == "get_weather" else {"additionalProperties": False})
        if choice != "required":
            assert [name for name, _ in found] == ["get_weather"]
        if model == "llama3":
            assert len(found) == 1, "its template can write no more"
        calls = streamed[each.index]["calls"].values()
        assert [(call["name"], json.loads(call["arguments"])) for call in calls] == found
        assert not each.message.content and not streamed[each.index]["content"]
    if model == "mistral":
        ids = [call.id for each in answer.choices for call in each.message.tool_calls or ()]
        assert all(len(id) == 9 and id.isalnum() for id in ids) and len(set(ids)) == len(ids)


def test_strict_functions_keep_to_their_schemas_where_the_model_chooses_to_call(client: openai.OpenAI) -> None:
    upper = {"type": "object", "properties": {"city": {"enum": ["ROME", "OSLO"]}}, "required": ["city"]}
    for strict, city in ((True, "ROME"), (False, "Rome")):
        (choice,) = client.chat.completions.create(
            **GREEDY, messages=ONE, tools=[tool("get_weather", upper, strict=strict)]
        ).choices
        assert calls_in(choice) == [("get_weather", {"city": city})]
    hello: Any = [{"role": "user", "content": "Hello"}]
    (choice,) = client.chat.completions.create(
        **GREEDY, messages=hello, tools=[tool("get_weather", upper, strict=True)]
    ).choices
    free = client.chat.completions.create(**GREEDY, messages=hello, tools=[tool("get_weather", upper)]).choices[0]
    assert choice.message.content == free.message.content, "text is free"


def test_without_parallel_calls_there_is_one(client: openai.OpenAI) -> None:
    (choice,) = client.chat.completions.create(
        **GREEDY, messages=TWO, tools=[WEATHER], parallel_tool_calls=False
    ).choices
    assert calls_in(choice) == [("get_weather", {"city": "Rome"})]
    answer = client.chat.completions.create(
        model="mistral",
        messages=[question("Oslo")],
        tools=[BOUNDED_WEATHER, TIME],
        tool_choice="required",
        n=8,
        seed=1,
        parallel_tool_calls=False,
        max_tokens=600,
    )
    assert [len(calls_in(choice)) for choice in answer.choices] == [1] * 8


@pytest.mark.parametrize(("model", "text"), [("mistral", MARKER), ("llama3", TAG)])
def test_a_special_token_that_marks_calls_is_seen_and_not_shown(client: openai.OpenAI, model: str, text: str) -> None:
    bundle = mistral_bundle() if model == "mistral" else llama3_bundle()
    with Generator(bundle, backend="native", threads=1) as generator:
        (marker,) = generator.encode(text, add_special_tokens=False)
        options: dict[str, Any] = {"n": 8, "seed": 3, "max_tokens": 300, "logit_bias": {marker: 3.0}}
        hidden = generator.generate("Oslo", **options)
        shown = generator.generate("Oslo", **options, shown_special_token_ids=[marker])
        ordinary = [[token for token in output.token_ids if token > 2] for output in shown.outputs]  # and the marker
        assert [output.text for output in shown.outputs] == [
            generator.decode(ids, skip_special_tokens=False) for ids in ordinary
        ]
    assert not any(text in output.text for output in hidden.outputs)
    assert [output.text.count(text) for output in shown.outputs] == [o.token_ids.count(marker) for o in hidden.outputs]
    options |= {"model": model, "messages": [question("Oslo")], "logit_bias": {str(marker): 3}}
    strict = tool("get_weather", BOUNDED, strict=True)
    answer = client.chat.completions.create(**options, tools=[strict])
    called = [choice for choice in answer.choices if choice.message.tool_calls]
    assert called and any(choice.message.content for choice in called), "some text, and then a call"
    ended = [choice for choice in called if choice.finish_reason == "tool_calls"]
    assert ended
    for _, arguments in (found for choice in ended for found in calls_in(choice)):
        jsonschema.validate(arguments, BOUNDED)
    loose = client.chat.completions.create(**options, tools=[WEATHER])
    assert not any(text in (choice.message.content or "") or choice.message.tool_calls for choice in loose.choices)


def test_any_model_is_told_of_tools_where_the_servers_owner_says_how(endless_bundle: Path, tmp_path: Path) -> None:
    """A template without tools, and random weights: calls are forced."""
    with serving(tmp_path, f"plain={endless_bundle}", "--tool-parser", "hermes") as server:
        client = openai.OpenAI(base_url=server.base, api_key="none", max_retries=0)
        answer = client.chat.completions.create(
            model="plain",
            messages=[question("Oslo")],
            tools=[BOUNDED_WEATHER, TIME],
            tool_choice="required",
            parallel_tool_calls=False,
            n=8,
            seed=2,
            max_tokens=600,
        )
        for choice in answer.choices:
            found = calls_in(choice)
            assert len(found) == 1 and choice.finish_reason == "tool_calls"
            for name, arguments in found:
                jsonschema.validate(arguments, BOUNDED if name == "get_weather" else {"additionalProperties": False})
    with pytest.raises(InvalidArgumentError, match="no format of tool calls named 'nonsense'"):
        ServerSettings(models={"a": "b"}, tool_parser="nonsense")


def test_a_whole_conversation_goes_round(client: openai.OpenAI) -> None:
    """Call, result and answer, for each format; the answer is what the model says to this prompt."""
    for model in ("smollm2", "mistral", "llama3"):
        said: list[Any] = [question("Oslo")]
        options: dict[str, Any] = {"model": model, "tools": [BOUNDED_WEATHER], "temperature": 0, "max_tokens": 200}
        named = {"type": "function", "function": {"name": "get_weather"}}
        message = client.chat.completions.create(**options, messages=said, tool_choice=named).choices[0].message
        said.append(message)
        for call in message.tool_calls or ():
            said.append({"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 7}'})
        options["max_tokens"] = 8
        answer = client.chat.completions.create(**options, messages=said, tool_choice="none")
        assert answer.choices[0].message.content
        assert answer.choices[0].message.tool_calls is None


def flat(given: Any) -> Any:
    return {"type": "function", **given["function"]}


def items_of(messages: list[Any]) -> list[Any]:
    """Messages as items of /v1/responses."""
    items = []
    for said in messages:
        for call in said.get("tool_calls") or ():
            items.append({"type": "function_call", "call_id": call["id"], **call["function"]})
        if not said.get("tool_calls"):
            items.append(said)
    return items


def test_responses_have_calls_as_items(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "smollm2", "temperature": 0, "max_output_tokens": 80, "tools": [flat(WEATHER)]}
    response = client.responses.create(**options, input=items_of(TWO))
    calls: list[Any] = [item for item in response.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments), call.status) for call in calls] == [
        ("get_weather", {"city": "Rome"}, "completed"),
        ("get_weather", {"city": "Berlin"}, "completed"),
    ]
    assert len(response.output) == 2 and response.status == "completed"
    assert response.tools[0].type == "function" and response.tool_choice == "auto"
    items: list[Any] = [*items_of(TWO), *(item.model_dump() for item in response.output)]
    items += [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    answer = client.responses.create(**{**options, "max_output_tokens": 8}, input=items, tool_choice="none")
    assert answer.output_text


def test_a_streamed_response_tells_of_calls(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "smollm2", "temperature": 0, "max_output_tokens": 80, "tools": [flat(WEATHER)]}
    whole = client.responses.create(**options, input=items_of(TWO))
    events: list[Any] = list(client.responses.create(**options, input=items_of(TWO), stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events if not event.type.endswith(".delta")]
    one_call = ["output_item.added", "function_call_arguments.done", "output_item.done"]
    assert kinds == [f"response.{kind}" for kind in ("created", "in_progress", *one_call, *one_call, "completed")]
    for place, item in enumerate(whole.output):
        assert item.type == "function_call"
        deltas = [e.delta for e in events if e.type.endswith("arguments.delta") and e.output_index == place]
        assert "".join(deltas) == item.arguments and len(deltas) > 2
    final = events[-1].response.output
    assert [(item.name, item.arguments) for item in final] == [(item.name, item.arguments) for item in whole.output]
    named = {"type": "function", "name": "get_weather"}
    forced = client.responses.create(
        **{**options, "tools": [flat(BOUNDED_WEATHER), flat(TIME)]}, input="Hello", tool_choice=named
    )
    (call,) = forced.output
    assert call.type == "function_call"
    jsonschema.validate(json.loads(call.arguments), BOUNDED)


def test_a_response_leaves_out_a_call_that_turned_out_to_be_none(client: openai.OpenAI) -> None:
    text = f"Hm . <tool_call>[{BROKEN}]</tool_call> Bye."
    options: dict[str, Any] = {"model": "smollm2", "input": "Rome", "tools": [flat(WEATHER)]}
    options |= {"extra_body": {"structured_outputs": {"choice": [text]}}, "include": ["message.output_text.logprobs"]}
    whole = client.responses.create(**options)
    events: list[Any] = list(client.responses.create(**options, stream=True))
    final = events[-1].response
    shown = [[part for item in answer.output for part in item.content] for answer in (whole, final)]
    assert whole.output_text == final.output_text == text, "messages alone"
    tokens = ["".join(entry.token for part in parts for entry in part.logprobs) for parts in shown]
    assert tokens[0] == tokens[1] and tokens[0].startswith(text), "log-probabilities of all tokens"
    ended = [event.item for event in events if event.type == "response.output_item.done"]
    assert [(item.type, item.status) for item in ended] == [
        ("message", "completed"),
        ("function_call", "incomplete"),
        ("message", "completed"),
    ]


def test_a_response_without_a_call_is_a_message(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "smollm2", "temperature": 0, "max_output_tokens": 12, "tools": [flat(TIME)]}
    whole = client.responses.create(**options, input="Hello")
    with client.responses.stream(**options, input="Hello") as stream:
        events = list(stream)
    last: Any = events[-1]
    assert last.response.output_text == whole.output_text != ""


DEEP: dict[str, Any] = {"type": "object"}
for _ in range(20):
    DEEP = {"type": "object", "properties": {"a": DEEP}}

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"tools": [3]}, "tools[0]", "must be an object"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "only functions are there"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "only functions are there"),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "must be an object"),
    ({"tools": [tool("a b")]}, "tools[0].function.name", "letters, digits"),
    ({"tools": [tool("f"), tool("f")]}, "tools[1].function.name", "as of another tool"),
    ({"tools": [tool("f", {"type": "array"})]}, "tools[0].function.parameters.type", "arguments are an object"),
    ({"tools": [tool("f", DEEP)]}, "tools[0].function.parameters", "deeper than 32"),
    ({"tools": [tool("f", {"description": "x" * 70000})]}, "tools[0].function.parameters", "bytes, but may have"),
    ({"tools": [tool("f", parameters=None, strict="yes")]}, "tools[0].function.strict", "true or false"),
    ({"tools": [tool(f"f{i}") for i in range(129)]}, "tools", "may have 128"),
    ({"tool_choice": "required"}, "tool_choice", "needs tools"),
    ({"tools": [TIME], "tool_choice": "sometimes"}, "tool_choice", "one of none, auto, required"),
    (
        {"tools": [TIME], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice",
        "tools has get_time",
    ),
    ({"tools": [TIME], "tool_choice": {"type": "custom"}}, "tool_choice.type", "only function and allowed_tools"),
    (
        {"tools": [TIME], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": []}}},
        "tool_choice.allowed_tools.mode",
        "auto or required",
    ),
    (
        {"tools": [TIME], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
        "tool_choice.allowed_tools.tools",
        "at least one",
    ),
    ({"tools": [TIME], "parallel_tool_calls": "no"}, "parallel_tool_calls", "valid boolean"),
    ({"functions": [{"name": "f"}]}, "functions", "send tools and tool_choice instead"),
    ({"function_call": {"name": "f"}}, "function_call", "send tools and tool_choice instead"),
    ({"tools": [TIME], "model": "plain"}, "tools", "does not write tools"),
    (
        {
            "tools": [tool("f", {"type": "object", "properties": {"a": {"type": "nonsense"}}})],
            "tool_choice": "required",
        },
        "tools[0].function.parameters",
        "more than calls can be held to: .*nonsense",
    ),
    (
        {
            "tools": [TIME, tool("f"), tool("g", {"type": "object", "properties": [1]}, strict=True)],
            "tool_choice": {"type": "function", "function": {"name": "g"}},
        },
        "tools[2].function.parameters",
        "properties must be an object",
    ),
    (
        {"messages": [question("x"), {"role": "tool", "tool_call_id": "a", "content": "x"}]},
        "messages[1].tool_call_id",
        "no message before it",
    ),
]


@pytest.mark.parametrize(("wrong", "param", "reason"), WRONG, ids=[f"{param} {reason}" for _, param, reason in WRONG])
def test_wrong_tools_are_refused_by_name(client: openai.OpenAI, wrong: dict[str, Any], param: str, reason: str) -> None:
    arguments: dict[str, Any] = {"model": "smollm2", "messages": [question("Rome")], "max_tokens": 2, **wrong}
    with pytest.raises(openai.BadRequestError, match=reason) as caught:
        client.chat.completions.create(**arguments)
    assert caught.value.param == param


def test_responses_refuse_what_they_do_not_have(client: openai.OpenAI) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"tools": [{"type": "file_search"}]}, "tools[0].type", "only functions"),
        ({"input": [{"type": "reasoning"}]}, "input[0]", "only messages, function_call and function_call_output"),
        (
            {"input": [{"type": "function_call_output", "call_id": "a", "output": 3}]},
            "input[0].output",
            "must be a text",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "a"}]},
            "input[0].tool_calls[0].function.name",
            "must be 1 to",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "a", "output": "x"}]},
            "input[0].tool_call_id",
            "no message",
        ),
    ]
    for change, param, reason in wrong:
        with pytest.raises(openai.BadRequestError, match=reason) as caught:
            client.responses.create(**{"model": "smollm2", "input": "x", **change})
        assert caught.value.param == param


def test_tokenize_counts_the_tools_of_a_chat(server: Serving) -> None:
    body = {"model": "smollm2", "messages": [question("Rome")]}
    without, with_tools = (
        httpx.post(server.url + "/tokenize", json={**body, **more}).json()["count"]
        for more in ({}, {"tools": [WEATHER]})
    )
    asked_for = {**body, "tools": [WEATHER], "max_tokens": 1}
    answer = httpx.post(server.base + "/chat/completions", json=asked_for, timeout=60).json()
    assert answer["usage"]["prompt_tokens"] == with_tools > without + 100


PAGE = (Path(__file__).parents[3] / "docs" / "tool-calls.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["server", "python"])
def test_an_example_of_the_page_works(server: Serving, example: str) -> None:
    changed = example.replace("http://localhost:8000", server.url).replace('model="small"', 'model="smollm2"')
    done = subprocess.run([sys.executable, "-c", changed], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    if "parse_tool_calls" in example:
        assert lines == ['f {"a": 1}']
    else:
        assert lines[0].startswith('get_weather {"city": "') and '"temperature": 21' in lines[0]
        assert len(lines) > 1 and lines[1]


def test_the_page_names_every_format() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == sorted(each.name for each in FORMATS)
