"""[TOOL_CALLS] [{"name": …, "arguments": {…}}, …]: Mistral 7B v0.3, Nemo and their like."""

from __future__ import annotations

import hashlib
import secrets
import string
from typing import ClassVar

from skywork_rt.tool_calls.call_object import KnownNames, read_call, read_list_rest
from skywork_rt.tool_calls.format import Format
from skywork_rt.tool_calls.function import Wanted
from skywork_rt.tool_calls.lark import Lark, listed_calls
from skywork_rt.tool_calls.source import Reading, Source

__all__ = ["BEGIN", "Mistral"]

BEGIN = "[TOOL_CALLS]"
_LETTERS = string.ascii_letters + string.digits
_LENGTH = 9


class Mistral(Format):
    """The marker is a special token of these models."""

    name = "mistral"
    markers: ClassVar[tuple[str, ...]] = (BEGIN,)

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
        return listed_calls(lark, wanted, BEGIN, '" "?', "")

    @classmethod
    def new_id(cls) -> str:
        """Nine letters and digits, which is all that the models' templates take."""
        return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))

    @classmethod
    def known_id(cls, id: str) -> str:
        """Ids of another kind are hashed: a call and its result keep the same one."""
        if len(id) == _LENGTH and all(letter in _LETTERS for letter in id):
            return id
        digest = hashlib.sha256(id.encode()).digest()
        return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:_LENGTH])


def _first(source: Source, known: KnownNames) -> Reading[None]:
    yield from source.space()
    yield from source.expect("[")
    yield from source.space()
    yield from read_call(source, known)
