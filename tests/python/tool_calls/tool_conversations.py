"""Conversations with tools as OpenAI's clients send them; golden/tool_prompts.json has what transformers makes of them.

Used by the test and by the script that makes the golden file, which runs where this project is not installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
PUBLISHED = (
    "Qwen-Qwen2.5-7B-Instruct",
    "meta-llama-Llama-3.1-8B-Instruct",
    "meta-llama-Llama-3.2-3B-Instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
)
"""Templates in llama.cpp's source package."""
_NEMO = PUBLISHED[-1]
_SPACED = ("[AVAILABLE_TOOLS][", "[INST]", "[TOOL_CALLS][", "[TOOL_RESULTS]{")
"""What Mistral-7B-Instruct-v0.3's template writes with a space behind the bracket, and is like Nemo's otherwise."""


def templates_in(folder: Path) -> dict[str, str]:
    """The templates by name: those of the folder, and Mistral-7B-Instruct-v0.3's."""
    texts = {name: (folder / f"{name}.jinja").read_text(encoding="utf-8") for name in PUBLISHED}
    older = texts[_NEMO]
    for text in _SPACED:
        assert text in older
        older = older.replace(text, text.replace("]", "] ", 1))
    said = '{{- message["content"] + eos_token}}'
    assert said in older
    texts["mistralai-Mistral-7B-Instruct-v0.3"] = older.replace(said, '{{- " " + message["content"]|trim + eos_token}}')
    return texts


TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a place <now> & later",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "Name of the city"},
                    "days": {"type": "integer"},
                },
                "required": ["place"],
            },
        },
    },
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}},
]


def call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


_SYSTEM = {"role": "system", "content": "Be brief."}
_USER = {"role": "user", "content": "What is the weather in 西安, and what time is it?"}
_WEATHER = call("abcdef123", "get_weather", '{"place": "西安", "days": 2, "more": {"a": [1.5, null]}}')
_TIME = call("ghijkl456", "get_time", "{}")
_CALL = {"role": "assistant", "content": None, "tool_calls": [_WEATHER]}
_RESULT = {"role": "tool", "tool_call_id": "abcdef123", "content": '{"degrees": 22}'}
_TIME_RESULT = {"role": "tool", "tool_call_id": "ghijkl456", "content": "12:00"}
_DONE = {"role": "assistant", "content": "22 °C."}
_MORE = {"role": "user", "content": "Thanks."}

CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "question": [_USER],
    "question with a system message": [_SYSTEM, _USER],
    "call": [_USER, _CALL, _RESULT],
    "call and answer": [_SYSTEM, _USER, _CALL, _RESULT, _DONE, _MORE],
    "two calls": [_USER, {**_CALL, "tool_calls": [_WEATHER, _TIME]}, _RESULT, _TIME_RESULT],
}


def for_transformers(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As its documentation has messages: arguments are objects, and what is not there is left out."""
    said = []
    for message in messages:
        message = {name: value for name, value in message.items() if name != "content" or value is not None}
        message.setdefault("content", "")
        if "tool_calls" in message:
            message["tool_calls"] = [
                {**each, "function": {**each["function"], "arguments": json.loads(each["function"]["arguments"])}}
                for each in message["tool_calls"]
            ]
        said.append(message)
    return said
