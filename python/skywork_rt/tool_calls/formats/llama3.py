"""{"name": …, "parameters": {…}} and nothing else, several separated by semicolons: Llama 3.1, 3.2 and 3.3."""

from __future__ import annotations

from skywork_rt.tool_calls.call_object import KnownNames, read_call
from skywork_rt.tool_calls.format import Format
from skywork_rt.tool_calls.function import Wanted
from skywork_rt.tool_calls.lark import Lark, calls_behind
from skywork_rt.tool_calls.source import Reading, Source

__all__ = ["Llama3"]

_TAG = "<|python_tag|>"


class Llama3(Format):
    """No marker is needed where the answer begins with a call; <|python_tag|> may stand before it."""

    name = "llama3"
    markers = (_TAG,)

    @classmethod
    def recognises(cls, template: str) -> bool:
        return "'\"parameters\": '" in template and "<|start_header_id|>ipython" in template

    @classmethod
    def one_only(cls, template: str) -> bool:
        return "only supports single tool-calls" in template

    @classmethod
    def read(cls, source: Source, known: KnownNames) -> Reading[None]:
        source.begin()
        if (yield from source.space()) == "{":
            yield from _calls(source, known)
        else:
            source.give_back()
        while (yield from source.content_until([_TAG])):
            yield from _calls(source, known)

    @classmethod
    def grammar(cls, wanted: Wanted, lark: Lark) -> str:
        more = ' ("; " call)*' if wanted.most is None else ""
        calls = calls_behind(lark, wanted, key="parameters")
        if not wanted.free:
            return f"start: call{more}\n{calls}"
        text = "TEXT: /\\s*[^{\\s](.|\\n)*/"
        if lark.is_special(_TAG):
            return f"start: | TEXT | TEXT? {lark.text(_TAG)} call{more} | call{more}\n{text}\n{calls}"
        return f"start: | TEXT | call{more}\n{text}\n{calls}"


def _calls(source: Source, known: KnownNames) -> Reading[None]:
    """From the first one, which is being tried, to the last one."""
    kept = yield from source.attempt(_call(source, known))
    while kept:
        source.begin()
        if (yield from source.space()) != ";":
            source.give_back()
            return
        kept = yield from source.attempt(_next(source, known))


def _call(source: Source, known: KnownNames) -> Reading[None]:
    yield from source.space()
    yield from read_call(source, known, bare=True)


def _next(source: Source, known: KnownNames) -> Reading[None]:
    source.skip()
    if (yield from source.space()) == "<":
        yield from source.expect(_TAG)
    yield from _call(source, known)
