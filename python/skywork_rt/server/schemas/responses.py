"""The request to /v1/responses, as far as text and functions go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, WithJsonSchema

from skywork_rt.server.errors import ApiError
from skywork_rt.server.schemas.generation import Generation
from skywork_rt.server.schemas.sampling import with_sampling
from skywork_rt.server.schemas.tools import FLAT_TOOL_CHOICE, FLAT_TOOLS

__all__ = ["ResponseFields", "ResponseRequest", "messages_of"]

_LOGPROBS = "message.output_text.logprobs"
_INPUT = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "type": {"enum": ["message", "function_call", "function_call_output"]},
                    "role": {"enum": ["system", "developer", "user", "assistant"]},
                    "content": {"type": "string"},
                    "call_id": {"type": "string"},
                    "name": {"type": "string"},
                    "arguments": {"type": "string"},
                    "output": {"type": "string"},
                },
            },
        },
    ]
}


class ResponseFields(Generation):
    """What is said, and how it is answered. Nothing is stored: the whole conversation comes with every request."""

    engine_names: ClassVar[Mapping[str, str]] = {
        "max_tokens": "max_output_tokens",
        "logprobs": "top_logprobs",
        "messages": "input",
    }

    input: Annotated[Any, WithJsonSchema(_INPUT)] = Field(description="A text, or the messages of a conversation.")
    instructions: str | None = Field(None, description="A system message before the input.")
    max_output_tokens: int | None = Field(
        None, description="Most tokens of the answer. Not given: as many as the model's length leaves."
    )
    top_logprobs: int | None = Field(None, description="Report each token, with this many of the likeliest.")
    include: list[str] | None = Field(None, description=f"May hold {_LOGPROBS}.")
    text: dict[str, Any] | None = Field(
        None, description='{"format": …}: what the answer must look like: text, json_object or json_schema.'
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description='More names for the template, such as {"enable_thinking": false}.'
    )

    tools: list[Any] | None = Field(
        None, description="The functions that the model may call.", json_schema_extra=FLAT_TOOLS
    )
    tool_choice: Any = Field(
        None,
        description="auto: the model chooses whether it calls; required: it calls; none: it does not; or one function.",
        json_schema_extra=FLAT_TOOL_CHOICE,
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether an answer may have several calls. Default: true."
    )

    @property
    def top(self) -> int | None:
        """With log-probabilities, how many of the likeliest tokens are reported."""
        if self.top_logprobs is not None:
            return self.top_logprobs
        return 0 if _LOGPROBS in (self.include or ()) else None


_OF_ITEMS = frozenset({"type", "id", "status", "phase"})
"""What a message has as an item of an answer, which comes back when that is sent again; no template reads it."""

ResponseRequest = with_sampling("ResponseRequest", ResponseFields, without=("n", "logprobs", "prompt_logprobs"))


def messages_of(request: ResponseFields) -> list[dict[str, Any]]:
    """The conversation as chats have it. Raises ApiError for what is no text."""
    _check(request)
    said = [{"role": "system", "content": request.instructions}] if request.instructions else []
    if isinstance(request.input, str):
        return [*said, {"role": "user", "content": request.input}]
    if not isinstance(request.input, list):
        raise ApiError(400, "input must be a text or a list of messages", param="input", code="invalid_type")
    for index, item in enumerate(request.input):
        _append(said, item, f"input[{index}]")
    return said


def _check(request: ResponseFields) -> None:
    for name in request.include or ():
        if name != _LOGPROBS:
            raise ApiError(400, f"include: {name!r:.100} is not there; only {_LOGPROBS} is", param="include")
    text = request.text or {}
    for name, value in text.items():
        if name != "format" and (name, value) not in (("verbosity", "medium"), ("verbosity", None)):
            raise ApiError(
                400,
                f"text.{name:.100} is not there; leave it out.",
                param=f"text.{name:.100}",
                code="unsupported_parameter",
            )


def _append(said: list[dict[str, Any]], item: Any, where: str) -> None:
    """A call belongs to the message of the assistant before it, if there is one."""
    if not isinstance(item, dict):
        raise ApiError(400, f"{where} must be an object of role and content", param=where, code="invalid_type")
    kind = item.get("type", "message")
    if kind == "function_call":
        if not said or said[-1].get("role") != "assistant":
            said.append({"role": "assistant", "content": None})
        said[-1].setdefault("tool_calls", []).append(_call(item))
    elif kind == "function_call_output":
        said.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": _output(item, where)})
    elif kind == "message":
        said.append(_message(item, where))
    else:
        raise ApiError(
            400,
            f"{where} is of type {kind!r:.100}; only messages, function_call and function_call_output are there",
            param=where,
            code="unsupported_parameter",
        )


def _call(item: dict[str, Any]) -> dict[str, Any]:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _output(item: dict[str, Any], where: str) -> Any:
    output = item.get("output")
    if isinstance(output, list):
        return [_part(part, f"{where}.output[{index}]") for index, part in enumerate(output)]
    if not isinstance(output, str):
        raise ApiError(400, f"{where}.output must be a text", param=f"{where}.output", code="invalid_type")
    return output


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    content = item.get("content")
    if isinstance(content, list):
        content = [_part(part, f"{where}.content[{index}]") for index, part in enumerate(content)]
    return {**{name: value for name, value in item.items() if name not in _OF_ITEMS}, "content": content}


def _part(part: Any, where: str) -> dict[str, Any]:
    if isinstance(part, dict) and part.get("type") in ("input_text", "output_text", "text"):
        return {"type": "text", "text": part.get("text")}
    kind = part.get("type") if isinstance(part, dict) else None
    raise ApiError(
        400, f"{where} is of type {kind!r:.100}; these models read text only", param=where, code="unsupported_parameter"
    )
