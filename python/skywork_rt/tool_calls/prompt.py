"""Conversations with tools in words, for chat templates that know system, user and assistant alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["told_in_words"]

Written = Callable[[Sequence[Mapping[str, Any]]], str]


def told_in_words(messages: Sequence[Mapping[str, Any]], asking: str, written: Written) -> list[dict[str, Any]]:
    """The conversation, with `asking` at the end of the system message, calls as their format writes them, and results
    as a user's message each run of them: <tool_response>…</tool_response>."""
    told: list[dict[str, Any]] = []
    results = False
    for message in messages:
        if message["role"] == "tool":
            text = f"<tool_response>\n{_text(message['content'])}\n</tool_response>"
            if results:
                told[-1]["content"] += "\n" + text
            else:
                told.append({"role": "user", "content": text})
            results = True
        else:
            told.append(_with_calls(message, written))
            results = False
    if not asking:
        return told
    if told and told[0]["role"] == "system":
        return [{**told[0], "content": f"{_text(told[0]['content'])}\n\n{asking}"}, *told[1:]]
    return [{"role": "system", "content": asking}, *told]


def _with_calls(message: Mapping[str, Any], written: Written) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return dict(message)
    text = _text(message.get("content") or "")
    rest = {name: value for name, value in message.items() if name != "tool_calls"}
    functions = [call["function"] for call in calls]
    calls_text = written([{"name": f["name"], "arguments": f["arguments"]} for f in functions])
    return {**rest, "content": f"{text}\n{calls_text}" if text else calls_text}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "\n".join(part if isinstance(part, str) else part["text"] for part in content)
    return json.dumps(content, ensure_ascii=False)
