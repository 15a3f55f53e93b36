"""Conversations that chat templates of published models are given; golden/chat_templates.json has what transformers
makes of them.

Used by the test and by the script that makes the golden file, which runs where this project is not installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

_USER = {"role": "user", "content": "What is the weather in 西安?"}
_ANSWER = {"role": "assistant", "content": "It is sunny."}
_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place <now> & later",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "Name of the city"}, "days": {"type": "integer"}},
            "required": ["place"],
        },
    },
}
_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdef123",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"place": "西安", "days": 2}},
        }
    ],
}
_RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "22 °C"}


@dataclass(frozen=True)
class Conversation:
    """Arguments of transformers' apply_chat_template, and of ours."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    documents: list[dict[str, Any]] | None = None
    template_args: dict[str, Any] = field(default_factory=dict)
    add_generation_prompt: bool = True


CONVERSATIONS: dict[str, Conversation] = {
    "one message": Conversation([_USER]),
    "system": Conversation([{"role": "system", "content": "Be brief."}, _USER]),
    "three turns": Conversation([_USER, _ANSWER, {"role": "user", "content": "And tomorrow?\n"}]),
    "answer at the end": Conversation([_USER, _ANSWER], add_generation_prompt=False),
    "tools": Conversation([_USER], tools=[_WEATHER]),
    "call and result": Conversation([_USER, _CALL, _RESULT], tools=[_WEATHER]),
    "no thinking": Conversation([_USER], template_args={"enable_thinking": False}),
    "documents": Conversation([_USER], documents=[{"title": "Weather", "text": "西安 is sunny."}]),
}
