"""How one model takes tools and writes calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from skywork_rt.errors import UnsupportedError
from skywork_rt.tool_calls.format import Format
from skywork_rt.tool_calls.table import FORMATS, format_named, format_of

__all__ = ["ToolStyle"]

_TOOLS = re.compile(r"\btools\b")


class _Tokenizer(Protocol):
    def encode(self, text: str, *, add_special_tokens: bool | None = None) -> list[int]: ...

    def decode(self, ids: list[int], *, skip_special_tokens: bool = True) -> str: ...


@dataclass(frozen=True)
class ToolStyle:
    """The format, and what a model's template and vocabulary add to it."""

    format: type[Format]
    in_words: bool
    """Whether the chat template knows nothing of tools, so that the system message tells of them."""
    one_only: bool
    """Whether an answer can have one call alone."""
    special: Mapping[str, int]
    """Markers of the format that are special tokens of the model, with their ids."""

    @classmethod
    def of(cls, template: str, tokenizer: _Tokenizer, name: str | None = None) -> Self:
        """By the chat template, or of the format called `name`. Raises UnsupportedError for a template whose format is
        not known."""
        in_words = _TOOLS.search(template) is None
        chosen = format_named(name) if name is not None else format_of(template)
        if chosen is None:
            raise UnsupportedError(_unknown(in_words))
        special = {marker: index for marker in chosen.markers if (index := _special_id(tokenizer, marker)) is not None}
        return cls(chosen, in_words, chosen.one_only(template), special)


def _special_id(tokenizer: _Tokenizer, text: str) -> int | None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) == 1 and tokenizer.decode(ids) == "" and tokenizer.decode(ids, skip_special_tokens=False) == text:
        return ids[0]
    return None


def _unknown(in_words: bool) -> str:
    names = ", ".join(each.name for each in FORMATS)
    if in_words:
        return (
            "the model's chat template does not write tools; leave them out, or start the server with "
            "--tool-parser hermes, which tells the model of them in the system message"
        )
    return (
        f"how the model writes tool calls is not known by its chat template; leave tools out, or start the server "
        f"with --tool-parser and the one of {names} that it writes"
    )
