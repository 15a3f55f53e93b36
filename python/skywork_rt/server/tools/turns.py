"""A conversation with tools on its way to the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skywork_rt.api.generator import Generator
from skywork_rt.api.prompts import Prompt
from skywork_rt.errors import UnsupportedError
from skywork_rt.server.errors import ApiError
from skywork_rt.server.messages import template_messages
from skywork_rt.server.tools.conversation import (
    check_tool_messages,
    has_tool_messages,
    in_order_of_calls,
    lost_content,
    with_known_ids,
)
from skywork_rt.server.tools.use import ToolUse
from skywork_rt.text.messages import checked_messages
from skywork_rt.tool_calls.style import ToolStyle

__all__ = ["Turns", "style_of", "turns_of"]


@dataclass(frozen=True)
class Turns:
    """What the chat template is given."""

    messages: Sequence[dict[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None
    field: str
    """What the request calls the messages."""

    def prompt(self, generator: Generator, arguments: dict[str, Any]) -> Prompt:
        """Tokenised. Raises InvalidArgumentError, ApiError."""
        prompt = generator.chat_prompt(self.messages, tools=self.tools, **arguments)
        self._check(generator, arguments)
        return prompt

    def ids(self, generator: Generator, arguments: dict[str, Any]) -> list[int]:
        return generator.encode_chat(self.messages, tools=self.tools, **arguments)

    def _check(self, generator: Generator, arguments: dict[str, Any]) -> None:
        if any(said.get("tool_calls") and said.get("content") for said in self.messages):
            text = generator.render_chat(self.messages, tools=self.tools, **arguments)
            error = lost_content(self.messages, text, self.field)
            if error is not None:
                raise error


def style_of(generator: Generator, name: str | None) -> ToolStyle:
    """How the model writes calls; `name` overrides what its template says. Raises ApiError where that is not known."""
    template = generator.chat_templates.choose(True)
    assert generator.tokenizer is not None, "a model without a tokenizer has no chat template"
    try:
        return ToolStyle.of(template, generator.tokenizer, name)
    except UnsupportedError as error:
        raise ApiError(400, str(error), param="tools", code="unsupported_parameter") from None


def turns_of(
    generator: Generator, messages: list[Any], field: str, use: ToolUse | None, parser: str | None, *, lenient: bool
) -> Turns:
    """Raises ApiError, and UnsupportedError for a model without a chat template."""
    definitions = list(use.definitions) if use is not None else None
    template = generator.chat_templates.choose(definitions)
    if use is None and not has_tool_messages(messages):
        return Turns(template_messages(messages, field, template, lenient=lenient), None, field)
    check_tool_messages(messages, field)
    try:
        style = style_of(generator, parser)
    except ApiError:
        if use is not None:
            raise
        return Turns(template_messages(messages, field, template, lenient=lenient), None, field)
    said = template_messages(messages, field, template, lenient=lenient, in_words=style.in_words)
    if "tool_call_id" not in template:
        said = in_order_of_calls(said)
    said = with_known_ids(said, style.format)
    if not style.in_words:
        return Turns(said, definitions, field)
    try:
        return Turns(style.format.messages(checked_messages(said), definitions or []), None, field)
    except UnsupportedError as error:
        raise ApiError(400, str(error), param="tools", code="unsupported_parameter") from None
