"""[TOOL_CALLS]name[ARGS]{…}, once a call: Mistral Small 3.1 and later, Devstral, Ministral 3."""

from __future__ import annotations

import re

from skywork_rt.tool_calls.call_object import KnownNames, read_arguments
from skywork_rt.tool_calls.formats.mistral import BEGIN, Mistral
from skywork_rt.tool_calls.function import Wanted
from skywork_rt.tool_calls.lark import Lark, free_text
from skywork_rt.tool_calls.source import NoCall, Reading, Source, Unfinished

__all__ = ["MistralArgs"]

_ID, _ARGUMENTS = "[CALL_ID]", "[ARGS]"
_PLAIN = re.compile(r"[^\[{\s]+")
_LONGEST_NAME = 256


class MistralArgs(Mistral):
    """Some have an id between name and arguments; it is passed."""

    name = "mistral_args"
    markers = (BEGIN, _ID, _ARGUMENTS)

    @classmethod
    def recognises(cls, template: str) -> bool:
        return BEGIN in template and _ARGUMENTS in template

    @classmethod
    def read(cls, source: Source, known: KnownNames) -> Reading[None]:
        while (yield from source.content_until([BEGIN])):
            yield from source.attempt(_call(source, known))

    @classmethod
    def grammar(cls, wanted: Wanted, lark: Lark) -> str:
        arguments = lark.text(_ARGUMENTS)
        names = [f"f_{index}" for index in range(len(wanted.functions))]
        rules = [f"call: {' | '.join(names)}"]
        for name, function in zip(names, wanted.functions, strict=True):
            rules.append(f"{name}: {lark.text(function.name)} {arguments} {name}_arguments")
            rules.append(f"{name}_arguments: {lark.arguments(function, free=wanted.free)}")
        if wanted.free:
            start = free_text(lark, BEGIN, "call", wanted.most)
        else:
            start = f"({lark.text(BEGIN)} call)" + ("+" if wanted.most is None else "")
        return "\n".join([f"start: {start}", *rules])


def _call(source: Source, known: KnownNames) -> Reading[None]:
    yield from source.space()
    name = yield from source.capture(_word(source))
    known.check(name)
    yield from source.space()
    if (yield from source.peek()) == "[":
        source.skip()
        if (yield from source.peek()) == _ID[1]:
            yield from source.expect(_ID[1:])
            yield from _word(source)
            yield from source.expect(_ARGUMENTS)
        else:
            yield from source.expect(_ARGUMENTS[1:])
    yield from source.space()
    if (yield from source.peek()) == "":
        raise Unfinished
    source.begin_call(name)
    yield from read_arguments(source)


def _word(source: Source) -> Reading[None]:
    """A name or an id: up to a bracket or white space."""
    length = 0
    while (character := (yield from source.peek())) not in ("", "[", "{", " ", "\n", "\t", "\r"):
        source.skip_all(_PLAIN)
        length += 1
        if length > _LONGEST_NAME or not character:
            raise NoCall
