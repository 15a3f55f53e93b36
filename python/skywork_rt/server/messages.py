"""The messages of a request, as the model's template gets them: nothing that a client says is left out silently."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from skywork_rt.server.errors import ApiError

__all__ = ["template_messages"]

_ROLES = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}
"""OpenAI's roles, by what templates call them. Others are known where the model's template names them."""

_ALWAYS = frozenset({"role", "content", "name"})
"""`name` says who of several speaks; a template that does not read it still writes the message."""

_OPENAI = frozenset(
    {"annotations", "audio", "function_call", "reasoning_content", "refusal", "tool_call_id", "tool_calls"}
)
_NOTHING: tuple[Any, ...] = (None, [], "")
_TYPES = ("text", "message")
"""lm-eval and OpenAI's newer shapes give messages such a `type`."""


def template_messages(
    messages: Sequence[Any], field: str, template: str, *, lenient: bool, in_words: bool = False
) -> list[dict[str, Any]]:
    """The messages of the request's `field` for a template, with the roles that it knows; `in_words`: calls and results
    are put in words before they come to the template.

    Raises ApiError for a role that nobody knows, for fields of OpenAI that the template does not write, and for other
    fields, which `lenient` ignores.
    """
    known = template + " 'tool' tool_calls" if in_words else template
    return [_message(said, f"{field}[{index}]", known, lenient) for index, said in enumerate(messages)]


def _message(said: Any, where: str, template: str, lenient: bool) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        raise ApiError(400, f"{where} must be an object of role and content", param=where, code="invalid_type")
    message = {"role": _role(said.get("role"), f"{where}.role", template), "content": said.get("content")}
    for name, value in said.items():
        if name in message or value in _NOTHING or (name == "type" and value in _TYPES):
            continue
        written = name in _ALWAYS or re.search(rf"\b{re.escape(name)}\b", template)
        # A template that does not write the id writes the result at its place, which says as much.
        if written or (name == "tool_call_id" and message["role"] == "tool"):
            message[name] = value
        elif name in _OPENAI:
            raise ApiError(
                400,
                f"{where}.{name}: the model's chat template does not write it; leave it out.",
                param=f"{where}.{name}",
                code="unsupported_parameter",
            )
        elif not lenient:
            raise ApiError(
                400,
                f"Unknown field: {where}.{name:.100}. Leave it out, or start the server with --lenient.",
                param=f"{where}.{name:.100}",
                code="unknown_parameter",
            )
    return message


def _role(role: Any, where: str, template: str) -> str:
    if not isinstance(role, str):
        raise ApiError(400, f"{where} must be a text such as user", param=where, code="invalid_type")
    if role in _ROLES:
        return _ROLES[role]
    if f"'{role}'" in template or f'"{role}"' in template:
        return role
    raise ApiError(
        400,
        f"{where} is {role!r:.100}, but must be one of {', '.join(_ROLES)}: the model's chat template knows no other",
        param=where,
        code="invalid_value",
    )
