"""The fields of OpenAI's requests that we do not act on: those that change no answer, and those that are refused.

A test holds this, with the schemas, against the typed requests of the `openai` package, so that a new field shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["HARMLESS", "REFUSED", "Refusal"]

HARMLESS: frozenset[str] = frozenset(
    {
        "user",  # who asks
        "safety_identifier",
        "store",  # nothing is stored; /v1/responses says so in its answer
        "metadata",
        "service_tier",
        "prompt_cache_key",  # hints for a cache; ours finds prompts that begin alike by itself
        "prompt_cache_options",
        "prompt_cache_retention",
        "max_tool_calls",  # of tools that the server itself has: there are none
        "access_programs",  # what an account may use
    }
)
"""Accepted, and without effect."""


@dataclass(frozen=True)
class Refusal:
    """Why a field is refused, and the values that ask for nothing."""

    reason: str
    neutral: tuple[Any, ...] = ()


_CHATS = "tools are for chats and responses; leave it out, or send it to one of these routes."
_OLDER = "the older form of tools is not there; send tools and tool_choice instead."
_NOT_OURS = "these models read and write text only; leave it out."
_NO_STORE = "nothing is stored here; send the whole conversation, and leave it out."

REFUSED: Mapping[str, Refusal] = {
    "response_format": Refusal("this route has text.format instead; leave it out.", ({"type": "text"},)),
    "tools": Refusal(_CHATS, ([],)),
    "tool_choice": Refusal(_CHATS, ("none", "auto")),
    "parallel_tool_calls": Refusal(_CHATS, (True, False)),
    "functions": Refusal(_OLDER, ([],)),
    "function_call": Refusal(_OLDER, ("none", "auto")),
    "suffix": Refusal("these models write on from a prompt and fill no gaps; leave it out.", ("",)),
    "audio": Refusal(_NOT_OURS),
    "image": Refusal(_NOT_OURS),
    "modalities": Refusal(_NOT_OURS, (["text"],)),
    "prediction": Refusal("predicted outputs are not there; leave it out."),
    "reasoning_effort": Refusal("give chat_template_kwargs that the model's template knows instead.", ("none",)),
    "reasoning": Refusal("give chat_template_kwargs that the model's template knows instead.", ({},)),
    "verbosity": Refusal("say it in the prompt instead.", ("medium",)),
    "web_search_options": Refusal("there is no web search; leave it out."),
    "moderation": Refusal("there is no moderation; leave it out."),
    "background": Refusal(_NO_STORE, (False,)),
    "background_options": Refusal(_NO_STORE),
    "conversation": Refusal(_NO_STORE),
    "previous_response_id": Refusal(_NO_STORE),
    "prompt": Refusal("stored prompts are not there; send the text as input."),
    "context_management": Refusal("nothing is left out of a conversation; shorten it before.", ([],)),
    "truncation": Refusal("nothing is cut silently; shorten the input before.", ("disabled",)),
}
"""Would change the answer, and is not done: 400, unless the value asks for nothing. A route that does act on such a
field has it in its schema, which counts first."""
