"""Reading tool calls out of answers: whole ones, and those that come in pieces."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.tool_calls.call_object import KnownNames
from skywork_rt.tool_calls.events import ArgumentsText, CallBegun, CallWithdrawn, ContentText, Event
from skywork_rt.tool_calls.format import Format
from skywork_rt.tool_calls.source import Source
from skywork_rt.tool_calls.table import format_named, format_of

__all__ = ["ParsedAnswer", "ToolCall", "ToolCallParser", "parse_tool_calls"]


@dataclass
class ToolCall:
    """A call that a model wrote."""

    name: str
    arguments: str = ""
    """JSON text of an object, as the model wrote it; without its end where the answer was cut in the middle of it."""


@dataclass
class ParsedAnswer:
    """What an answer says, and what it calls."""

    content: str = ""
    """The text outside of calls."""
    calls: list[ToolCall] = field(default_factory=list)

    def add(self, events: Iterable[Event]) -> None:
        """Puts together what a parser finds."""
        for event in events:
            if isinstance(event, ContentText):
                self.content += event.text
            elif isinstance(event, CallBegun):
                self.calls.append(ToolCall(event.name))
            elif isinstance(event, ArgumentsText):
                self.calls[event.index].arguments += event.text
            elif isinstance(event, CallWithdrawn):
                del self.calls[event.index]


class ToolCallParser:
    """Reads the calls of one answer, whose text comes in any pieces.

    format: how the model writes calls, by name: hermes, llama3, mistral, mistral_args or smollm2. functions: names of
    those that may be called; None: any. What turns out to be no call is content: calls of other functions, and what is
    no JSON. hidden: special tokens of the format, which are no content when they mark no call. Raises
    InvalidArgumentError for a format that is not known.
    """

    def __init__(
        self,
        format: str | type[Format],
        functions: Collection[str] | None = None,
        *,
        hidden: Collection[str] = (),
    ) -> None:
        chosen = format_named(format) if isinstance(format, str) else format
        self._source = Source(hidden)
        self._reader = chosen.read(self._source, KnownNames(functions))
        self._over = False

    def feed(self, text: str) -> list[Event]:
        """More text; what it tells: content, the name of a call that begins, more of its arguments."""
        if self._over:
            raise InvalidArgumentError("the answer is over; take a new parser for another one")
        self._source.feed(text)
        self._go_on()
        return self._source.take_events()

    def finish(self, *, cut: bool = False) -> list[Event]:
        """There is no more text. cut: it ended by length, so that the last call may be unfinished, and stays one."""
        if self._over:
            return []
        self._source.end(cut=cut)
        self._go_on()
        self._source.close()
        self._over = True
        return self._source.take_events()

    def _go_on(self) -> None:
        next(self._reader, None)


def parse_tool_calls(
    text: str,
    format: str | None = None,
    functions: Collection[str] | None = None,
    *,
    template: str | None = None,
    cut: bool = False,
) -> ParsedAnswer:
    """What a whole answer says, and what it calls.

    Give the format by name (hermes, llama3, mistral, mistral_args, smollm2), or the model's chat template, whose format
    is recognised. The text must have the special tokens that mark calls: generate it with shown_special_token_ids, or
    with skip_special_tokens=False. functions, cut: as in `ToolCallParser`. Raises InvalidArgumentError.
    """
    if (format is None) == (template is None):
        raise InvalidArgumentError("give either a format of tool calls or a chat template")
    chosen = format_named(format) if format is not None else format_of(str(template))
    if chosen is None:
        raise InvalidArgumentError("the chat template has no format of tool calls that is known; give a format by name")
    parser = ToolCallParser(chosen, functions)
    answer = ParsedAnswer()
    answer.add(parser.feed(text))
    answer.add(parser.finish(cut=cut))
    return answer
