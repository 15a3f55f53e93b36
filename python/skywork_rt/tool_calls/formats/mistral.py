"""[TOOL_CALLS] [{"name": …, "arguments": {…}}, …]: Mistral 7B v0.3, Nemo and their like."""

from __future__ import annotations

import secrets
import string

from skywork_rt.tool_calls.call_object import KnownNames, read_call, read_list_rest
from skywork_rt.tool_calls.format import Format
from skywork_rt.tool_calls.function import Wanted
from skywork_rt.tool_calls.lark import Lark, calls_behind
from skywork_rt.tool_calls.source import Reading, Source

__all__ = ["BEGIN", "Mistral"]

BEGIN = "[TOOL_CALLS]"
_ID_LETTERS = string.ascii_letters + string.digits


class Mistral(Format):
    """The marker is a special token of these models."""

    name = "mistral"
    markers = (BEGIN,)

    @classmethod
    def recognises(cls, template: str) -> bool:
        return BEGIN in template

    @classmethod
    def read(cls, source: Source, known: KnownNames) -> Reading[None]:
        while (yield from source.content_until([BEGIN])):
            if (yield from source.attempt(_first(source, known))):
                yield from read_list_rest(source, known)

    @classmethod
    def grammar(cls, wanted: Wanted, lark: Lark) -> str:
        more = ' (", " call)*' if wanted.most is None else ""
        text = "TEXT? " if wanted.free else ""
        start = f'start: {text}{lark.text(BEGIN)} " "? "[" call{more} "]"'
        free = " | TEXT?\nTEXT: /(.|\\n)*/" if wanted.free else ""
        return f"{start}{free}\n{calls_behind(lark, wanted)}"

    @classmethod
    def new_id(cls) -> str:
        """Nine letters and digits, which is all that the models' templates take."""
        return "".join(secrets.choice(_ID_LETTERS) for _ in range(9))


def _first(source: Source, known: KnownNames) -> Reading[None]:
    yield from source.space()
    yield from source.expect("[")
    yield from source.space()
    yield from read_call(source, known)
