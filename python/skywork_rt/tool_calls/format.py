"""What a format of calls has to say: how to read it, how to write it as a grammar, and how to ask for it."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from skywork_rt.errors import UnsupportedError
from skywork_rt.tool_calls.call_object import KnownNames
from skywork_rt.tool_calls.function import Wanted
from skywork_rt.tool_calls.lark import Lark
from skywork_rt.tool_calls.source import Reading, Source

__all__ = ["Format"]


class Format(ABC):
    """How a family of models writes calls."""

    name: ClassVar[str]
    markers: ClassVar[tuple[str, ...]] = ()
    """Texts of the format that may be special tokens, which the reader must see."""

    @classmethod
    @abstractmethod
    def recognises(cls, template: str) -> bool:
        """Whether a chat template has the model write calls in this format."""

    @classmethod
    def one_only(cls, template: str) -> bool:
        """Whether the template cannot write an answer with several calls."""
        return False

    @classmethod
    @abstractmethod
    def read(cls, source: Source, known: KnownNames) -> Reading[None]:
        """Reads a whole answer."""

    @classmethod
    @abstractmethod
    def grammar(cls, wanted: Wanted, lark: Lark) -> str:
        """The rules of a grammar, whose first one is `start`, for what `read` reads."""

    @classmethod
    def new_id(cls) -> str:
        """An id for a call, as the format's models know it."""
        return f"call_{uuid.uuid4().hex[:24]}"

    @classmethod
    def known_id(cls, id: str) -> str:
        """An id of the conversation, which somebody else may have made, as the format's templates take it."""
        return id

    @classmethod
    def messages(
        cls, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """A conversation with tools in words, for a chat template that knows nothing of tools: messages of system, user
        and assistant. Raises UnsupportedError where the format's models have no such way."""
        raise UnsupportedError(
            f"the model's chat template does not write tools, and the format {cls.name} needs one that does; "
            "choose another --tool-parser, such as hermes"
        )
