"""Messages to a prompt, through the model's own template."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn, TypeAlias

from skywork_rt.errors import InvalidArgumentError, UnsupportedError

__all__ = ["Message", "render_chat"]

Message: TypeAlias = Mapping[str, Any]
"""{"role": "system" | "user" | "assistant" | ..., "content": text}"""


def render_chat(
    template: str | None,
    messages: Sequence[Message],
    *,
    bos_token: str = "",
    eos_token: str = "",
    add_generation_prompt: bool = True,
) -> str:
    """The prompt that asks for the next message.

    The template runs in jinja2's immutable sandbox, so a bundle from others can format text and nothing else. It finds
    the names that transformers defines: messages, add_generation_prompt, bos_token, eos_token, raise_exception,
    strftime_now; there are no tools. Raises UnsupportedError when the bundle has no template, InvalidArgumentError for
    malformed messages and for what the template itself refuses.
    """
    if not template:
        raise UnsupportedError("this bundle has no chat template; use generate() with a prompt of your own")
    _check(messages)
    import jinja2

    try:
        return str(
            _compile(template).render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                bos_token=bos_token,
                eos_token=eos_token,
                tools=None,
            )
        )
    except jinja2.TemplateError as error:
        raise InvalidArgumentError(f"the chat template refuses these messages: {error}") from error
    except Exception as error:  # whatever else the code of others runs into
        raise InvalidArgumentError(f"the chat template fails on these messages: {error!r}") from error


def _check(messages: Sequence[Message]) -> None:
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InvalidArgumentError(f"messages is a {type(messages).__name__}; give a list of role and content")
    if not messages:
        raise InvalidArgumentError("messages is empty; give at least 1")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InvalidArgumentError(
                f"message {index} is a {type(message).__name__}; give a dict of role and content"
            )
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                raise InvalidArgumentError(f"message {index} has {key} {message.get(key)!r}; it must be text")


@lru_cache(maxsize=8)
def _compile(template: str) -> Any:
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(template)


def _raise_exception(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)


def _to_json(value: Any, indent: int | None = None) -> str:
    """Unlike jinja2's own, which escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)
