"""The request to /v1/chat/completions, and what it shares with /tokenize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from pydantic.config import JsonDict

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.server.schemas.base import Schema
from skywork_rt.server.schemas.generation import Generation
from skywork_rt.server.schemas.sampling import with_sampling
from skywork_rt.server.schemas.structured import RESPONSE_FORMAT
from skywork_rt.server.schemas.tools import CALL, TOOL_CHOICE, TOOLS

__all__ = ["ChatFields", "ChatRequest", "Conversation", "chat_arguments"]

_MESSAGES: JsonDict = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
            "tool_calls": {"type": "array", "items": CALL},
            "tool_call_id": {"type": "string"},
            "content": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["type", "text"],
                            "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                        },
                    },
                ]
            },
        },
    },
}


class Conversation(Schema):
    """Messages, and how the model's template writes them down."""

    messages: list[Any] = Field(description="The conversation so far.", json_schema_extra=_MESSAGES)
    add_generation_prompt: bool | None = Field(
        None, description="Whether the prompt ends where the next message begins. Default: true."
    )
    continue_final_message: bool | None = Field(
        None, description="Go on with the last message, instead of beginning another one."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description='More names for the template, such as {"enable_thinking": false}.'
    )
    documents: list[dict[str, Any]] | None = Field(None, description="What the template may quote.")
    tools: list[Any] | None = Field(None, description="The functions that the model may call.", json_schema_extra=TOOLS)


class ChatFields(Conversation, Generation):
    """A conversation, and how its next message is made."""

    engine_names: ClassVar[Mapping[str, str]] = {"max_tokens": "max_completion_tokens", "logprobs": "top_logprobs"}

    response_format: RESPONSE_FORMAT = Field(
        None, description="What the answer must look like: text, json_object or json_schema."
    )
    logprobs: bool | None = Field(None, description="Report the log-probability of each token.")
    top_logprobs: int | None = Field(
        None, ge=0, description="With logprobs: this many of the likeliest tokens at each place."
    )
    max_completion_tokens: int | None = Field(
        None, description="Most tokens of an answer. Not given: as many as the model's length leaves."
    )
    tool_choice: Any = Field(
        None,
        description="auto: the model chooses whether it calls; required: it calls; none: it does not; or one function.",
        json_schema_extra=TOOL_CHOICE,
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether an answer may have several calls. Default: true."
    )


ChatRequest = with_sampling("ChatRequest", ChatFields)


def chat_arguments(request: Conversation) -> dict[str, Any]:
    """Keywords of `Generator.chat_prompt`."""
    if request.continue_final_message and request.add_generation_prompt:
        raise InvalidArgumentError("continue_final_message and add_generation_prompt exclude each other; give one")
    arguments = {
        "add_generation_prompt": request.add_generation_prompt,
        "continue_final_message": request.continue_final_message,
        "template_args": request.chat_template_kwargs,
        "documents": request.documents,
    }
    return {name: value for name, value in arguments.items() if value is not None}
