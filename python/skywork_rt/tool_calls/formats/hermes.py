"""<tool_call>{"name": …, "arguments": {…}}</tool_call>, once a call: Hermes, Qwen2.5, Qwen3, Granite 4."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from skywork_rt.tool_calls.call_object import KnownNames, read_call, read_list_rest
from skywork_rt.tool_calls.format import Format
from skywork_rt.tool_calls.function import Wanted
from skywork_rt.tool_calls.lark import Lark, calls_behind, free_text
from skywork_rt.tool_calls.prompt import told_in_words
from skywork_rt.tool_calls.source import Reading, Source

__all__ = ["BEGIN", "END", "Hermes"]

BEGIN, END = "<tool_call>", "</tool_call>"
_OTHERS = ("<function=", "<arg_key>", "<parameter=", "<tool_call>[", "<tool_calls>")
"""Of formats that put something else between the same tags."""
_ASKING = """\
# Tools

You may call these functions, each described by JSON:
<tools>
{tools}
</tools>

To call one, write its name and arguments as JSON between <tool_call> and </tool_call>, once for each call:
<tool_call>
{{"name": "the function's name", "arguments": {{"the parameter's name": "its value"}}}}
</tool_call>"""


class Hermes(Format):
    """Reads a list between the tags, too, which some models write."""

    name = "hermes"
    markers = (BEGIN, END)

    @classmethod
    def recognises(cls, template: str) -> bool:
        return BEGIN in template and '"arguments"' in template and not any(other in template for other in _OTHERS)

    @classmethod
    def read(cls, source: Source, known: KnownNames) -> Reading[None]:
        while (yield from source.content_until([BEGIN])):
            listed = (yield from source.space()) == "["
            if not (yield from source.attempt(_call(source, known, listed))):
                continue
            if listed:
                yield from read_list_rest(source, known)
            source.begin()
            yield from source.attempt(_end(source))

    @classmethod
    def grammar(cls, wanted: Wanted, lark: Lark) -> str:
        begin = lark.text(BEGIN)
        body = f'"\\n" call "\\n" {lark.text(END)}'
        calls = calls_behind(lark, wanted)
        if wanted.free:
            return f"start: {free_text(lark, BEGIN, body, wanted.most)}\n{calls}"
        more = f' ("\\n" {begin} {body})*' if wanted.most is None else ""
        return f"start: {begin} {body}{more}\n{calls}"

    @classmethod
    def messages(
        cls, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        asking = _ASKING.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
        return told_in_words(messages, asking if tools else "", _written)


def _call(source: Source, known: KnownNames, listed: bool) -> Reading[None]:
    if listed:
        yield from source.expect("[")
        yield from source.space()
    yield from read_call(source, known)


def _end(source: Source) -> Reading[None]:
    yield from source.space()
    yield from source.expect(END)


def _written(calls: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"{BEGIN}\n{json.dumps(call, ensure_ascii=False)}\n{END}" for call in calls)
