"""The messages of a conversation: what callers may give, and what a template of the model can take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from skywork_rt.errors import InvalidArgumentError

__all__ = ["Message", "Needs", "checked_messages", "checked_tools", "messages_for"]

Message: TypeAlias = Mapping[str, Any]
"""{"role": "system" | "user" | "assistant" | "tool" | …, "content": text}. The content may also be a list of parts
{"type": "text", "text": …}, and null for an assistant who called tools; tool_calls, tool_call_id and name are OpenAI's.
Other keys are the template's to read."""


@dataclass(frozen=True)
class Needs:
    """What a template does with the content of messages. parts: it goes through a list of parts itself. null: it asks
    whether there is content."""

    parts: bool
    null: bool

    @classmethod
    def of(cls, tree: Any) -> Needs:
        """From the parsed template, a node of jinja2."""
        from jinja2 import nodes

        names = {
            assign.target.name
            for assign in tree.find_all(nodes.Assign)
            if isinstance(assign.target, nodes.Name) and _is_content(assign.node)
        }

        def content(node: Any) -> bool:
            return _is_content(node) or (isinstance(node, nodes.Name) and node.name in names)

        loops = any(content(loop.iter) for loop in tree.find_all(nodes.For))
        indexed = any(content(item.node) and isinstance(item.arg, nodes.Const) for item in tree.find_all(nodes.Getitem))
        asks = any(content(test.node) and test.name == "none" for test in tree.find_all(nodes.Test))
        return cls(parts=loops or indexed, null=asks)


def _is_content(node: Any) -> bool:
    """Whether an expression of a template is somebody's content."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value == "content"
    return isinstance(node, nodes.Getattr) and node.attr == "content"


def checked_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Copies of the messages. Raises InvalidArgumentError that names the message."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InvalidArgumentError(f"messages is a {type(messages).__name__}; give a list of role and content")
    if not messages:
        raise InvalidArgumentError("messages is empty; give at least 1")
    return [_checked(message, index) for index, message in enumerate(messages)]


def _checked(message: Message, index: int) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidArgumentError(f"message {index} is a {type(message).__name__}; give a dict of role and content")
    if not isinstance(message.get("role"), str):
        raise InvalidArgumentError(f"message {index} has role {message.get('role')!r:.80}; it must be text")
    copy = dict(message)
    copy.setdefault("content", None)
    if "tool_calls" in copy:
        copy["tool_calls"] = _tool_calls(copy["tool_calls"], index)
    content = copy["content"]
    if content is None and copy["role"] != "assistant":
        raise InvalidArgumentError(f"message {index} has content None; it must be text or a list of parts of text")
    if isinstance(content, list | tuple):
        copy["content"] = [_checked_part(part, f"part {i} of message {index}") for i, part in enumerate(content)]
    elif content is not None and not isinstance(content, str) and not _is_result(copy):
        raise InvalidArgumentError(
            f"message {index} has content {content!r:.80}, a {type(content).__name__}; give text or a list of parts"
        )
    return copy


def _is_result(message: Mapping[str, Any]) -> bool:
    """What a tool gave back may be an object, which templates write as JSON."""
    return message["role"] in ("tool", "ipython") and isinstance(message["content"], Mapping)


def _checked_part(part: object, where: str) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise InvalidArgumentError(f"{where} is a {type(part).__name__}; give a dict such as {{'type': 'text', …}}")
    if part.get("type") != "text":
        raise InvalidArgumentError(f"{where} is of type {part.get('type')!r:.80}; these models read text only")
    if not isinstance(part.get("text"), str):
        raise InvalidArgumentError(f"{where} has text {part.get('text')!r:.80}; it must be text")
    return dict(part)


def _tool_calls(calls: object, index: int) -> list[dict[str, Any]] | None:
    """OpenAI's clients write a call's arguments as text that holds JSON; templates go through them as an object."""
    if calls is None:
        return None
    if not isinstance(calls, list | tuple) or not all(isinstance(call, Mapping) for call in calls):
        raise InvalidArgumentError(f"message {index} has tool_calls {calls!r:.80}; give a list of dicts")
    return [_tool_call(call, f"tool call {i} of message {index}") for i, call in enumerate(calls)]


def _tool_call(call: Mapping[str, Any], where: str) -> dict[str, Any]:
    copy = dict(call)
    function = copy.get("function")
    if isinstance(function, Mapping):
        copy["function"] = _with_arguments(function, where)
    return _with_arguments(copy, where)


def _with_arguments(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    copy = dict(holder)
    if isinstance(copy.get("arguments"), str):
        try:
            copy["arguments"] = json.loads(copy["arguments"] or "{}")
        except (ValueError, RecursionError) as error:
            raise InvalidArgumentError(f"{where} has arguments that are no JSON: {error}") from error
    return copy


def checked_tools(tools: object) -> list[dict[str, Any]] | None:
    """The tools as templates read them: JSON schemas, each an object with type and function."""
    if tools is None:
        return None
    if not isinstance(tools, list | tuple) or not all(isinstance(tool, Mapping) for tool in tools):
        raise InvalidArgumentError(
            f"tools is {tools!r:.80}; give a list of dicts such as {{'type': 'function', 'function': {{'name': …}}}}"
        )
    return [dict(tool) for tool in tools]


def messages_for(needs: Needs, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages as a template can take them: parts of text are joined by a line break where it does not go through
    parts itself, and no content is an empty text where it does not ask for that."""
    return [{**message, "content": _content_for(needs, message["content"])} for message in messages]


def _content_for(needs: Needs, content: Any) -> Any:
    if content is None and not needs.null:
        return ""
    if isinstance(content, list) and not needs.parts:
        return "\n".join(part["text"] for part in content)
    return content
