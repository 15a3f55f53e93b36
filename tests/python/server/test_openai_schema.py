"""Every field of OpenAI's requests is known: acted on, accepted without effect, or refused by name."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest

from skywork_rt import SamplingParams
from skywork_rt.server.errors import ApiError
from skywork_rt.server.schemas.base import Schema, parse
from skywork_rt.server.schemas.chat import ChatRequest
from skywork_rt.server.schemas.completions import CompletionRequest
from skywork_rt.server.schemas.openai_fields import HARMLESS, REFUSED
from skywork_rt.server.schemas.responses import ResponseRequest
from skywork_rt.server.schemas.sampling import sampling_values

pytestmark = pytest.mark.slow  # importing the client takes a second


def fields_of(name: str) -> set[str]:
    from openai.types import chat, completion_create_params, responses

    module: Any = {
        "completions": completion_create_params,
        "chat": chat.completion_create_params,
        "responses": responses.response_create_params,
    }[name]
    base = {
        "completions": "CompletionCreateParamsBase",
        "chat": "CompletionCreateParamsBase",
        "responses": "ResponseCreateParamsBase",
    }[name]
    return {*getattr(module, base).__annotations__, "stream"}


ROUTES: list[tuple[str, type[Schema]]] = [
    ("completions", CompletionRequest),
    ("chat", ChatRequest),
    ("responses", ResponseRequest),
]


@pytest.mark.parametrize(("route", "schema"), ROUTES)
def test_every_field_is_known(route: str, schema: type[Schema]) -> None:
    fields = fields_of(route)
    assert len(fields) >= 18
    assert fields - set(schema.model_fields) - HARMLESS - set(REFUSED) == set()


def test_no_rule_is_about_a_field_that_is_gone() -> None:
    everything = fields_of("completions") | fields_of("chat") | fields_of("responses")
    assert (HARMLESS | set(REFUSED)) - everything == set()


@pytest.mark.parametrize(("route", "schema"), ROUTES)
def test_every_refused_field_is_refused_by_name_and_its_neutral_values_pass(route: str, schema: type[Schema]) -> None:
    good = {"completions": {"prompt": "x"}, "chat": {"messages": [{}]}, "responses": {"input": "x"}}[route]
    for name, rule in REFUSED.items():
        if name in schema.model_fields:
            continue
        with pytest.raises(ApiError, match=f"^{name}: ") as caught:
            parse(schema, {**good, name: {"something": "else"}}, lenient=True)
        assert caught.value.param == name
        for value in rule.neutral:
            parse(schema, {**good, name: value}, lenient=False)


def test_every_sampling_parameter_is_a_field() -> None:
    names = set(get_type_hints(SamplingParams)) - {"grammar"}  # which response_format and structured_outputs give
    for _, schema in ROUTES[:2]:
        assert names - set(schema.model_fields) == set()


def test_null_is_not_given() -> None:
    request = parse(CompletionRequest, {"prompt": "x", "temperature": None, "stop": None, "n": 2}, lenient=False)
    assert sampling_values(request) == {"n": 2}
