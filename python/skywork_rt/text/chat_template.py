"""Messages to a prompt, through the model's own template, as transformers' apply_chat_template renders it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn, TypedDict

from skywork_rt.bundle.info import BundleInfo
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.text.messages import Message, Needs, checked_messages, checked_tools, messages_for

__all__ = ["ChatArguments", "ChatTemplates", "Message", "load_chat_templates", "render_chat"]

_TOOL_USE = "tool_use"
_OURS = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message")


class ChatArguments(TypedDict, total=False):
    """What `render_chat` takes beside messages, all optional."""

    tools: Sequence[Mapping[str, Any]] | None
    """What the model may call, in OpenAI's form."""
    documents: Sequence[Mapping[str, Any]] | None
    """What it may quote."""
    template_args: Mapping[str, Any] | None
    """More names for the template, such as {"enable_thinking": False}."""
    add_generation_prompt: bool
    """Whether the text ends where the next message begins; True unless given, False with continue_final_message."""
    continue_final_message: bool
    """Whether the text ends in the middle of the last message, which the model then goes on with; False unless
    given."""


@dataclass(frozen=True)
class ChatTemplates:
    """A model's templates, by name, and the texts of its special tokens. `unusable`: why there is none to use."""

    named: Mapping[str, str] = field(default_factory=dict)
    special_tokens: Mapping[str, Any] = field(default_factory=dict)
    unusable: str | None = None

    def choose(self, tools: object) -> str:
        """The one for tools where there are tools and one, else the default one. Raises UnsupportedError."""
        if tools and _TOOL_USE in self.named:
            return self.named[_TOOL_USE]
        if self.named.get("default"):
            return self.named["default"]
        if self.unusable:
            raise UnsupportedError(
                f"the model's chat template cannot be used: {self.unusable}; use generate() with a prompt of your own"
            )
        names = f" but those named {', '.join(self.named)}" if self.named else ""
        raise UnsupportedError(f"this bundle has no chat template{names}; use generate() with a prompt of your own")


def load_chat_templates(bundle: BundleInfo, token: Callable[[int], str]) -> ChatTemplates:
    """The bundle's; `token` writes an id, for bundles from before special tokens were listed."""
    section, model = bundle.section("tokenizer"), bundle.section("model")
    named = {name: text for name, text in (section.get("chat_templates") or {}).items() if isinstance(text, str)}
    if isinstance(section.get("chat_template"), str):
        named["default"] = section["chat_template"]
    special = section.get("special_tokens")
    if special is None:
        ids = {"bos_token": model.get("bos_id"), "eos_token": next(iter(model.get("eos_ids") or ()), None)}
        special = {name: token(index) if index is not None else "" for name, index in ids.items()}
    return ChatTemplates(named, special, section.get("chat_template_error"))


def render_chat(
    templates: ChatTemplates,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    template_args: Mapping[str, Any] | None = None,
    add_generation_prompt: bool | None = None,
    continue_final_message: bool = False,
) -> str:
    """The prompt that asks for the next message, or with `continue_final_message` for the rest of the last one.

    The template runs in jinja2's immutable sandbox, so a bundle from others can format text and nothing else. It finds
    what transformers gives: messages, tools, documents, add_generation_prompt, the special tokens, `template_args`;
    raise_exception, strftime_now, tojson, loop controls, the generation tag. Raises UnsupportedError when the bundle
    has no template that can be used, InvalidArgumentError for malformed messages and for what the template itself
    refuses.
    """
    if continue_final_message and add_generation_prompt:
        raise InvalidArgumentError("add_generation_prompt and continue_final_message exclude each other; give one")
    template = templates.choose(tools)
    given = checked_messages(messages)
    arguments = _template_args(template_args)
    import jinja2

    try:
        compiled, needs = _compile(template)
        said = messages_for(needs, given)
        text = str(
            compiled.render(
                **{**templates.special_tokens, **arguments},
                messages=said,
                tools=checked_tools(tools),
                documents=None if documents is None else list(documents),
                add_generation_prompt=not continue_final_message and add_generation_prompt is not False,
            )
        )
        return _cut_behind_last(text, said[-1]["content"]) if continue_final_message else text
    except InvalidArgumentError:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise UnsupportedError(f"the chat template cannot be used: {error}") from error
    except jinja2.TemplateError as error:
        raise InvalidArgumentError(f"the chat template refuses these messages: {error}") from error
    except Exception as error:  # whatever else the code of others runs into
        raise InvalidArgumentError(f"the chat template fails on these messages: {error!r}") from error


def _cut_behind_last(text: str, content: Any) -> str:
    """The text without what the template puts behind the last message's content."""
    last = content if isinstance(content, str) else "".join(part["text"] for part in content or ())
    # Some templates strip what they are given; as transformers does, the end of the stripped text is looked for then.
    for form in (last, last.strip()):
        if form and form in text:
            return text[: text.rindex(form) + len(form)]
    raise InvalidArgumentError(
        "the last message cannot be continued: its text is empty, or the chat template changes it"
    )


def _template_args(given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidArgumentError(f"template_args is {given!r:.80}; give names and values")
    for name in _OURS:
        if name in given:
            raise InvalidArgumentError(f"template_args has {name!r}, which is an argument of chat() itself")
    return dict(given)


@lru_cache(maxsize=8)
def _compile(template: str) -> tuple[Any, Needs]:
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from skywork_rt.text.generation_tag import GenerationTag

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    tree = environment.parse(template)
    return environment.from_string(tree), Needs.of(tree)


def _raise_exception(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _now() -> datetime.datetime:
    return datetime.datetime.now()


def _strftime_now(format: str) -> str:
    return _now().strftime(format)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike jinja2's own, which escapes for HTML; the arguments are those of transformers' filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
