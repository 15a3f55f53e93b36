"""A call as nearly all formats write it: a JSON object of a name and arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from skywork_rt.tool_calls.json_text import read_members, read_string, read_value
from skywork_rt.tool_calls.source import NoCall, Reading, Source, all_of

__all__ = ["KnownNames", "read_arguments", "read_call", "read_list_rest"]

_ARGUMENTS = ("arguments", "parameters")
_MEMBERS = ("name", "arguments", "type", "id")
"""Of calls; models write the last two by themselves, beside what they are asked for."""


@dataclass(frozen=True)
class KnownNames:
    """The functions that may be called. names: None for any."""

    names: Collection[str] | None = None

    def check(self, name: str) -> None:
        """Raises NoCall for a function that nobody knows."""
        if not name.isprintable() or not name or (self.names is not None and name not in self.names):
            raise NoCall


def read_call(source: Source, known: KnownNames, *, bare: bool = False) -> Reading[None]:
    """Passes the object of a call, and tells it: the name as soon as it is there, then the arguments as they come.
    Other members, such as an id, are passed. Raises NoCall.

    bare: nothing but the object itself says that it is a call, so arguments must be there, and a member that no call
    has before its name shows that it is none: an answer in JSON is told as it comes, and not held back to its end.
    """
    name, arguments = None, None  # the text of arguments that come before the name
    seen: set[str] = set()
    for member in _members(source):
        key = yield from member
        if key is None:
            break
        key = "arguments" if key in _ARGUMENTS else key
        if key in seen or (bare and name is None and key not in _MEMBERS):
            raise NoCall
        seen.add(key)
        if key == "name":
            name = yield from read_string(source)
            known.check(name)
            if arguments is not None:
                source.begin_call(name)
                source.tell_arguments(arguments)
        elif key == "arguments" and name is not None:
            yield from _told_arguments(source, name)
        elif key == "arguments":
            arguments = yield from _kept_arguments(source)
        else:
            yield from read_value(source)
    if name is None or (bare and "arguments" not in seen):
        raise NoCall
    if "arguments" not in seen:
        source.begin_call(name)
        source.tell_arguments("{}")


def read_arguments(source: Source) -> Reading[None]:
    """Passes the object of a call's arguments, and tells them as they come."""
    if (yield from source.peek()) != "{":
        raise NoCall
    source.begin_arguments()
    yield from read_value(source)
    source.end_arguments()


def _members(source: Source) -> Iterator[Reading[str | None]]:
    """Readers of an object's keys, each up to its value; the last gives None, and has passed the end."""
    first = True
    while True:
        yield _key(source, first)
        first = False


def _key(source: Source, first: bool) -> Reading[str | None]:
    if first:
        yield from source.expect("{")
        more = (yield from source.space()) != "}"
    else:
        more = yield from read_members(source)
    if not more:
        yield from source.expect("}")
        return None
    key = yield from read_string(source)
    yield from source.space()
    yield from source.expect(":")
    yield from source.space()
    return key


def _told_arguments(source: Source, name: str) -> Reading[None]:
    if (yield from source.peek()) == "{":
        source.begin_call(name)
        yield from read_arguments(source)
        return
    arguments = yield from _kept_arguments(source)
    source.begin_call(name)
    source.tell_arguments(arguments)


def _kept_arguments(source: Source) -> Reading[str]:
    """The text of an object; of a string that holds one, as some models write it; {} for null."""
    character = yield from source.peek()
    if character == '"':
        return _object_in((yield from read_string(source)))
    text = yield from source.capture(read_value(source))
    if character == "n":
        return "{}"
    if character != "{":
        raise NoCall
    return text


def _object_in(text: str) -> str:
    """The text, if it is an object's alone, and as strict as any other. Half of a character, which an escape in the
    outer string can make, could not be sent."""
    inner = Source()
    inner.feed(text)
    inner.end(cut=False)
    if not all_of(_object_alone(inner)) or any("\ud800" <= character <= "\udfff" for character in text):
        raise NoCall
    return text


def _object_alone(source: Source) -> Reading[bool]:
    source.begin()
    if (yield from source.space()) != "{":
        return False
    yield from read_value(source)
    return (yield from source.space()) == ""


def read_list_rest(source: Source, known: KnownNames) -> Reading[None]:
    """Behind the first call of a list: passes more of them, each tried by itself, and the list's end."""
    while True:
        source.begin()
        if (yield from source.space()) == "]":
            source.skip()
            source.keep()
            return
        if not (yield from source.attempt(_next_of_list(source, known))):
            return


def _next_of_list(source: Source, known: KnownNames) -> Reading[None]:
    yield from source.expect(",")
    yield from source.space()
    yield from read_call(source, known)
