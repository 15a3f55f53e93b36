"""JSON (RFC 8259) that comes in pieces, read strictly: what passes here, every reader takes."""

from __future__ import annotations

import json
import re

from skywork_rt.tool_calls.source import NoCall, Reading, Source, Unfinished

__all__ = ["read_members", "read_string", "read_value"]

_MOST_DEPTH = 64
_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_OF_NUMBERS = frozenset("+-.eE0123456789")
_WORDS = {"t": "true", "f": "false", "n": "null"}


def read_value(source: Source, depth: int = 0) -> Reading[None]:
    """Passes one value. Raises NoCall where it is no JSON, or is nested deeper than 64 levels."""
    character = yield from source.peek()
    if depth > _MOST_DEPTH:
        raise NoCall
    if character == "{":
        yield from _object(source, depth)
    elif character == "[":
        yield from _array(source, depth)
    elif character == '"':
        yield from _string(source)
    elif character in _WORDS:
        yield from source.expect(_WORDS[character])
    else:
        yield from _number(source)


def read_string(source: Source) -> Reading[str]:
    """Passes a string, and gives what it says. Raises NoCall."""
    text = yield from source.capture(_string(source))
    return str(json.loads(text))


def read_members(source: Source) -> Reading[bool]:
    """Between the members of an object or the items of an array: passes a comma, and gives whether there is one more;
    else its end is next."""
    character = yield from source.space()
    if character != ",":
        return False
    source.skip()
    yield from source.space()
    return True


def _object(source: Source, depth: int) -> Reading[None]:
    source.skip()
    more = (yield from source.space()) != "}"
    while more:
        yield from _string(source)
        yield from source.space()
        yield from source.expect(":")
        yield from source.space()
        yield from read_value(source, depth + 1)
        more = yield from read_members(source)
    yield from source.expect("}")


def _array(source: Source, depth: int) -> Reading[None]:
    source.skip()
    more = (yield from source.space()) != "]"
    while more:
        yield from read_value(source, depth + 1)
        more = yield from read_members(source)
    yield from source.expect("]")


def _string(source: Source) -> Reading[None]:
    yield from source.expect('"')
    while True:
        source.skip_all(_PLAIN)
        character = yield from source.peek()
        if not character:
            raise Unfinished
        if character == '"':
            source.skip()
            return
        if character == "\\":
            source.skip()
            yield from _escape(source)
        elif character < " ":
            raise NoCall


def _escape(source: Source) -> Reading[None]:
    character = yield from source.peek()
    if not character:
        raise Unfinished
    if character not in '"\\/bfnrtu':
        raise NoCall
    source.skip()
    for _ in range(4 if character == "u" else 0):
        digit = yield from source.peek()
        if not digit:
            raise Unfinished
        if digit not in "0123456789abcdefABCDEF":
            raise NoCall
        source.skip()


def _number(source: Source) -> Reading[None]:
    text = yield from source.capture(_digits(source))
    if not _NUMBER.fullmatch(text):
        raise NoCall if (yield from source.peek()) else Unfinished


def _digits(source: Source) -> Reading[None]:
    while (yield from source.peek()) in _OF_NUMBERS:
        source.skip()
