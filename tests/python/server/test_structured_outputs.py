"""Structured outputs in OpenAI's fields and in vLLM's, asked for with the real client."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field
from serving import Serving

MESSAGES: Any = [{"role": "user", "content": "Who is it?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "kind": {"enum": ["cat", "dog"]},
        "legs": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 2},
    },
    "required": ["name", "kind", "legs"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "animal", "strict": True, "schema": SCHEMA}}
GBNF = 'root ::= word (" " word)?\nword ::= [a-z]{2,3}'


class Animal(BaseModel):
    name: str = Field(max_length=6)
    legs: int = Field(ge=0, le=9)


@pytest.mark.parametrize("seed", range(3))
def test_a_chat_keeps_to_a_schema(client: openai.OpenAI, seed: int) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=MESSAGES, response_format=FORMAT, seed=seed, max_completion_tokens=150
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    jsonschema.validate(json.loads(choice.message.content or ""), SCHEMA)
    assert answer.usage is not None and answer.usage.completion_tokens > 5


def test_a_stream_keeps_to_a_schema_and_may_have_several_choices(client: openai.OpenAI) -> None:
    texts = ["", "", ""]
    reasons: list[str | None] = [None] * 3
    stream = client.chat.completions.create(
        model="tiny", messages=MESSAGES, response_format=FORMAT, seed=7, n=3, max_tokens=150, stream=True
    )
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert reasons == ["stop"] * 3
    for text in texts:
        jsonschema.validate(json.loads(text), SCHEMA)


def test_the_clients_own_classes_are_parsed(client: openai.OpenAI) -> None:
    chat = client.chat.completions.parse(model="tiny", messages=MESSAGES, response_format=Animal, seed=1)
    assert isinstance(chat.choices[0].message.parsed, Animal)
    answer = client.responses.parse(model="tiny", input="Who is it?", text_format=Animal, extra_body={"seed": 1})
    assert isinstance(answer.output_parsed, Animal)


def test_json_mode_gives_an_object(client: openai.OpenAI) -> None:
    """The word JSON need not be in the prompt."""
    answer = client.chat.completions.create(
        model="tiny", messages=MESSAGES, response_format={"type": "json_object"}, seed=2, max_tokens=40
    )
    text = answer.choices[0].message.content or ""
    assert text.startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def test_a_cut_answer_ends_by_length(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, response_format=FORMAT, max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert re.match(r'\{\s*("|$)', answer.choices[0].message.content or "")


def test_responses_keep_to_text_format(client: openai.OpenAI) -> None:
    wanted: Any = {"format": {"type": "json_schema", "name": "animal", "strict": True, "schema": SCHEMA}}
    asked: dict[str, Any] = {"model": "tiny", "input": "Who?", "max_output_tokens": 150, "extra_body": {"seed": 1}}
    answer = client.responses.create(text=wanted, **asked)
    assert answer.status == "completed"
    jsonschema.validate(json.loads(answer.output_text), SCHEMA)
    assert answer.text is not None and answer.text.format is not None and answer.text.format.type == "json_schema"
    with client.responses.stream(text=wanted, **asked) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    jsonschema.validate(json.loads(text), SCHEMA)
    free = client.responses.create(model="tiny", input="Who?", text={"format": {"type": "text"}}, max_output_tokens=2)
    assert free.text is not None and free.text.format is not None and free.text.format.type == "text"


VLLM: list[tuple[dict[str, Any], str]] = [
    ({"structured_outputs": {"regex": "[0-9]{3}"}}, "[0-9]{3}"),
    ({"structured_outputs": {"regex": "x", "json": None, "disable_additional_properties": False}}, "x"),
    ({"structured_outputs": {"choice": ["yes", "no"]}}, "yes|no"),
    ({"structured_outputs": {"grammar": GBNF}}, "[a-z]{2,3}( [a-z]{2,3})?"),
    ({"structured_outputs": {"grammar": "start: /[xyz]{4}/"}}, "[xyz]{4}"),
    ({"structured_outputs": {"json": {"const": {"a": [1, 2]}}, "disable_any_whitespace": True}}, r'\{"a":\[1,2\]\}'),
    ({"structured_outputs": {"json": {"const": {"a": 1}}, "whitespace_pattern": " "}}, r'\{ ?"a" ?: ?1 ?\}'),
    ({"structured_outputs": {"json": '{"enum": ["x", "y"]}'}}, '"[xy]"'),
    ({"guided_json": {"enum": [5, 6]}}, "[56]"),
    ({"guided_regex": "(ab){2}"}, "abab"),
    ({"guided_choice": ["Größe", "量"]}, "Größe|量"),
    ({"guided_grammar": GBNF}, "[a-z]{2,3}( [a-z]{2,3})?"),
]


@pytest.mark.parametrize(("fields", "pattern"), VLLM, ids=[str(fields)[:50] for fields, _ in VLLM])
def test_vllms_fields_in_chats_and_completions(client: openai.OpenAI, fields: dict[str, Any], pattern: str) -> None:
    chat = client.chat.completions.create(model="tiny", messages=MESSAGES, extra_body=fields, max_tokens=60, seed=4)
    assert re.fullmatch(pattern, chat.choices[0].message.content or "")
    text = client.completions.create(model="tiny", prompt=["a", "b"], n=2, extra_body=fields, max_tokens=60, seed=4)
    assert [re.fullmatch(pattern, choice.text) is not None for choice in text.choices] == [True] * 4
    response = client.responses.create(model="tiny", input="x", extra_body={**fields, "seed": 4}, max_output_tokens=60)
    assert re.fullmatch(pattern, response.output_text)


def test_json_object_of_vllm(client: openai.OpenAI) -> None:
    body = {"structured_outputs": {"json_object": True}}
    text = client.completions.create(model="tiny", prompt="a", extra_body=body, max_tokens=20, seed=4).choices[0].text
    assert text.startswith("{")


def changed(**changes: Any) -> dict[str, Any]:
    """The response_format with other values in its schema's object; None takes one out."""
    inner = {**FORMAT["json_schema"], **changes}
    return {"type": "json_schema", "json_schema": {name: v for name, v in inner.items() if v is not None}}


RF, JS = "response_format", "response_format.json_schema"
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({RF: {"type": "json_schema"}}, JS, "is missing"),
    ({RF: {"type": "json_schema", "json_schema": 3}}, JS, "must be an object"),
    ({RF: changed(name=None)}, f"{JS}.name", "is missing"),
    ({RF: changed(name="a b")}, f"{JS}.name", "letters, digits"),
    ({RF: changed(schema=None)}, f"{JS}.schema", "is missing"),
    ({RF: changed(schema=[])}, f"{JS}.schema", "must be an object"),
    ({RF: changed(strict="yes")}, f"{JS}.strict", "true or false"),
    ({RF: changed(other=1)}, f"{JS}.other", "is not there"),
    ({RF: {"type": "json_object", "schema": {}}}, f"{RF}.schema", "is not there"),
    ({RF: {"type": "structural_tag"}}, f"{RF}.type", "must be text"),
    ({RF: "json"}, RF, "must be an object"),
    ({RF: {"type": {}}}, f"{RF}.type", "must be text"),
    ({RF: changed(schema={"type": "wizard"})}, f"{JS}.schema", "Invalid type: wizard"),
    ({RF: changed(schema={"type": "array", "uniqueItems": True})}, f"{JS}.schema", "uniqueItems"),
    ({RF: changed(schema={"multipleOf": 9999991})}, f"{JS}.schema", "multipleOf"),
    ({"structured_outputs": {}}, "structured_outputs", "give one of json, regex, choice, grammar, json_object"),
    ({"structured_outputs": {"json_object": False}}, "structured_outputs", "give one of"),
    ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs.choice", "give one"),
    ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", "is not there"),
    ({"structured_outputs": {"regex": 3}}, "structured_outputs.regex", "must be a str"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "no options"),
    ({"structured_outputs": {"grammar": 'root ::= "a'}}, "structured_outputs.grammar", "line 1, column 10"),
    ({"structured_outputs": {"regex": "a("}}, "structured_outputs.regex", "unclosed group"),
    ({"structured_outputs": 3}, "structured_outputs", "must be an object"),
    ({"guided_regex": "a("}, "guided_regex", "unclosed group"),
    ({"guided_regex": "a", RF: FORMAT}, "guided_regex", "schema and guided_regex are given"),
    ({"guided_json": "{"}, "guided_json", "no JSON"),
    ({"guided_choice": "yes"}, "guided_choice", "must be a list"),
    ({"guided_grammar": "start: nothing"}, "guided_grammar", "unknown name"),
    ({"guided_regex": "a", "use_beam_search": True, "n": 2}, None, "a grammar follows samples, not beams"),  # type: ignore[list-item]
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "param", "reason"), WRONG, ids=[str(fields)[:60] for fields, _, _ in WRONG])
def test_what_cannot_be_kept_is_refused_by_field_before_a_stream_begins(
    client: openai.OpenAI, fields: dict[str, Any], param: str, reason: str, stream: bool
) -> None:
    for _ in range(2):  # the second time it is known already
        with pytest.raises(openai.BadRequestError, match=reason) as caught:
            client.chat.completions.create(
                model="tiny", messages=MESSAGES, max_tokens=5, stream=stream, extra_body=fields
            )
        assert param is None or caught.value.param == param
        assert caught.value.status_code == 400


def test_responses_refuse_by_their_own_fields(client: openai.OpenAI) -> None:
    named = {"type": "json_schema", "name": "x"}
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"text": {"format": named}}, "text.format.schema", "is missing"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name", "is missing"),
        ({"text": {"format": {**named, "schema": {"type": "wizard"}}}}, "text.format.schema", "Invalid type: wizard"),
        ({"text": {"format": 3}}, "text.format", "must be an object"),
        ({"response_format": {"type": "json_object"}}, "response_format", "text.format instead"),
        ({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}, "guided_regex", "give one"),
    ]
    for fields, param, reason in wrong:
        with pytest.raises(openai.BadRequestError, match=reason) as caught:
            client.responses.create(model="tiny", input="x", extra_body=fields)
        assert caught.value.param == param


def test_metrics_tell_what_grammars_cost(client: openai.OpenAI, tiny_server: Serving, http: httpx.Client) -> None:
    before = tiny_server.metrics(http)
    client.completions.create(model="tiny", prompt="a", extra_body={"guided_regex": "[f-h]{5}"}, max_tokens=10)
    after = tiny_server.metrics(http)

    def grown(name: str) -> float:
        return after[f"{name}{{model_name=tiny}}"] - before[f"{name}{{model_name=tiny}}"]

    assert grown("grammar_compilations_total") == 1
    wrong = grown("grammar_tokens_guessed_total") - grown("grammar_tokens_guessed_right_total")
    assert grown("grammar_masks_total") == 5 + wrong
    assert grown("grammar_mask_seconds_total") > 0


@pytest.mark.slow
async def test_a_slow_grammar_holds_nobody_up(tiny_server: Serving) -> None:
    slow = {"type": "object", "properties": {f"p{i}": {"type": "string", "maxLength": 99} for i in range(3000)}}
    async with openai.AsyncOpenAI(base_url=tiny_server.base, api_key="none", max_retries=0) as client:
        ask = client.completions.create
        waits = asyncio.create_task(ask(model="tiny", prompt="a", max_tokens=1, extra_body={"guided_json": slow}))
        await asyncio.sleep(0.1)
        for text in ("a", "b"):
            await ask(model="tiny", prompt=text, max_tokens=20)
            await ask(model="tiny", prompt=text, max_tokens=20, extra_body={"guided_regex": f"[{text}-z]{{3}}"})
        assert not waits.done(), "the four others have come and gone"
        assert (await waits).choices[0].text == "{"


def test_the_page_of_the_command_names_the_fields(tiny_server: Serving, http: httpx.Client) -> None:
    schemas = http.get("/openapi.json").json()["components"]["schemas"]
    for name in ("ChatRequest", "CompletionRequest"):
        assert {"response_format", "structured_outputs", "guided_json"} <= set(schemas[name]["properties"])
    assert "structured_outputs" in schemas["ResponseRequest"]["properties"]
