"""From a request's body to what runs: read, checked, its model held open, its prompts tokenised."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from starlette.requests import Request

from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt
from skywork_rt.api.results import RequestOutput
from skywork_rt.errors import InvalidArgumentError, SkyworkError
from skywork_rt.server.errors import ApiError, api_error
from skywork_rt.server.json_body import parse_object
from skywork_rt.server.limits import check_prompt, check_samples, read_body
from skywork_rt.server.models import Model
from skywork_rt.server.schemas.base import Schema, parse
from skywork_rt.server.schemas.chat import Conversation, chat_arguments
from skywork_rt.server.schemas.generation import Generation, check_generation, terms_of
from skywork_rt.server.schemas.sampling import sampling_values
from skywork_rt.server.schemas.structured import Wanted, wanted_of
from skywork_rt.server.state import Server, server_of
from skywork_rt.server.ticket import Ticket, ticket_of
from skywork_rt.server.tools.turns import Turns, turns_of
from skywork_rt.server.tools.use import ToolUse
from skywork_rt.server.work import Work

__all__ = ["Call", "object_of", "opened", "parsed_as", "read"]

S = TypeVar("S", bound=Schema)
_QUICK_BYTES = 1 << 16
"""A body of so many bytes is read in some milliseconds, which other requests can wait."""


@dataclass
class Call:
    """One request to a model that is open."""

    request: Any
    """An instance of the route's schema."""
    server: Server
    model: Model
    ticket: Ticket
    grammar_fault: Callable[[str], tuple[str, str]] | None = None
    """Where the request does not name the grammar itself: the field that a message about it is about, and the message
    for that field."""

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the request's fields, to name the one at fault."""
        return frozenset(type(self.request).model_fields)

    @cached_property
    def wanted(self) -> Wanted | None:
        """What the answer must look like, if the request says so. Raises ApiError."""
        return wanted_of(self.request)

    @property
    def names(self) -> Mapping[str, str]:
        """What the request calls the fields that messages of the runtime call otherwise."""
        given = self.request.model_fields_set
        return {ours: theirs for ours, theirs in self.request.engine_names.items() if theirs in given}

    def params(self, *, without: Collection[str] = (), **changes: Any) -> SamplingParams:
        """The model's own defaults with what the request gives, and `changes`; the request's fields `without` mean
        something else. Raises InvalidArgumentError."""
        values = {name: value for name, value in sampling_values(self.request).items() if name not in without}
        values.update({name: value for name, value in changes.items() if value is not None or name == "max_tokens"})
        if self.wanted is not None:
            values.setdefault("grammar", self.wanted.grammar)
        if self.request.use_beam_search:
            values.setdefault("num_beams", values.get("n", 1))
            values.setdefault("temperature", 0.0)
        params = self.model.generator.default_params.replace(**values)
        check_samples(max(params.n, params.num_beams), self.server.settings, "n")
        return params

    async def text_prompt(self, prompt: Any, field: str) -> Prompt:
        """A prompt of text or ids, within the bounds."""
        wanted = self.request.add_special_tokens
        return await self._prompt(field, self.model.generator.prompt, prompt, add_special_tokens=wanted)

    async def chat_prompt(self, conversation: Conversation, tools: ToolUse | None = None) -> Prompt:
        """The prompt of a conversation, within the bounds."""
        turns = self.turns(conversation.messages, "messages", tools)
        return await self._prompt("messages", turns.prompt, self.model.generator, chat_arguments(conversation))

    async def prompt_of_messages(
        self, messages: list[Any], field: str, template_args: dict[str, Any] | None, tools: ToolUse | None
    ) -> Prompt:
        """The same of messages that have no other fields beside them."""
        turns = self.turns(messages, field, tools)
        return await self._prompt(field, turns.prompt, self.model.generator, {"template_args": template_args})

    def turns(self, messages: list[Any], field: str, tools: ToolUse | None) -> Turns:
        """The messages of a field, and tools, as the model's template takes them. Raises ApiError, UnsupportedError."""
        settings = self.server.settings
        return turns_of(self.model.generator, messages, field, tools, settings.tool_parser, lenient=settings.lenient)

    def work(self, prompts: list[Prompt], params: SamplingParams) -> Work:
        """What runs: prompts that all use the same parameters."""
        self.ticket.facts["prompt_tokens"] = sum(len(prompt.ids) for prompt in prompts)
        terms = terms_of(self.request, self.server.settings.request_seconds)
        return Work(self.model, prompts, params, terms, self._observe)

    async def _prompt(self, field: str, make: Callable[..., Prompt], *arguments: Any, **named: Any) -> Prompt:
        """What `make` gives, in a thread: a long text takes a while. What it refuses is the fault of `field`."""
        try:
            prompt = await asyncio.to_thread(make, *arguments, **named)
        except InvalidArgumentError as error:
            raise ApiError(400, api_error(error, names=self.names).message, param=field) from error
        check_prompt(prompt, self.model.generator, self.server.settings, field)
        return prompt

    def _observe(self, result: RequestOutput) -> None:
        self.server.metrics.observe(self.model.name, result)
        facts, timings = self.ticket.facts, result.timings
        facts["completion_tokens"] = facts.get("completion_tokens", 0) + timings.tokens
        facts["cached_tokens"] = facts.get("cached_tokens", 0) + result.num_cached_tokens
        facts["queue_seconds"] = round(max(facts.get("queue_seconds", 0.0), timings.queued), 6)
        facts["ttft_seconds"] = round(max(facts.get("ttft_seconds", 0.0), timings.ttft), 6)
        facts["finish_reason"] = result.finish_reason
        if self.server.settings.log_prompts:
            prompt = self.model.generator.decode(result.prompt_token_ids, skip_special_tokens=False)
            self.ticket.private.setdefault("prompts", []).append(prompt)
            self.ticket.private.setdefault("answers", []).append([output.text for output in result.outputs])


async def read(request: Request, schema: type[S]) -> S:
    """The body as its schema reads it. Raises ApiError."""
    return parsed_as(request, schema, await object_of(request))


async def object_of(request: Request) -> Mapping[str, Any]:
    """The JSON object in the body. Raises ApiError."""
    body = await read_body(request, server_of(request).settings)
    if len(body) <= _QUICK_BYTES:
        return parse_object(body)
    return await asyncio.to_thread(parse_object, body)  # seconds for megabytes of small values


def parsed_as(request: Request, schema: type[S], given: Mapping[str, Any]) -> S:
    """An object as a schema reads it. Raises ApiError."""
    settings = server_of(request).settings
    parsed = parse(schema, given, lenient=settings.lenient)
    if isinstance(parsed, Generation):
        check_generation(parsed, allow_priority=settings.allow_priority)
    return parsed


@asynccontextmanager
async def opened(request: Request, parsed: Schema) -> AsyncIterator[Call]:
    """Holds the model of a request open. Errors of the runtime become errors of the API, with the field's name."""
    server, ticket = server_of(request), ticket_of(request)
    model = server.models.named(parsed.model)
    ticket.facts["model"] = model.name
    call = Call(parsed, server, model, ticket)
    try:
        async with server.models.use(model):
            yield call
    except (SkyworkError, ApiError) as error:
        raise _told(error, call) from error


def _told(error: SkyworkError | ApiError, call: Call) -> ApiError:
    """An error with the field that is at fault; the words of a message about a grammar are those of its library."""
    told = api_error(error, call.fields, call.names)
    if isinstance(error, InvalidArgumentError) and _ABOUT_GRAMMAR.search(told.message):
        wanted = call.__dict__.get("wanted")
        if wanted is not None:
            told.param = wanted.field
        elif call.grammar_fault is not None:
            told.param, told.message = call.grammar_fault(told.message)
    return told


_ABOUT_GRAMMAR = re.compile(r"^(the|compiling the|following the) (grammar|JSON schema)\b")
