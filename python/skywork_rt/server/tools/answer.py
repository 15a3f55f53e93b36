"""The calls of one answer, in OpenAI's shapes for chats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from skywork_rt.api.params import SamplingParams
from skywork_rt.server.request import Call
from skywork_rt.server.tools.turns import style_of
from skywork_rt.server.tools.use import ToolUse
from skywork_rt.tool_calls.events import ArgumentsText, CallBegun, CallWithdrawn, ContentText, Event
from skywork_rt.tool_calls.format import Format
from skywork_rt.tool_calls.parser import ParsedAnswer, ToolCall, ToolCallParser
from skywork_rt.tool_calls.style import ToolStyle

__all__ = ["CallStream", "Calls", "calls_of"]


@dataclass(frozen=True)
class Calls:
    """How the answers of one request call tools."""

    use: ToolUse
    style: ToolStyle

    def params(self, params: SamplingParams) -> SamplingParams:
        """What is sampled. Raises ApiError."""
        return self.use.params(params, self.style)

    def parser(self, params: SamplingParams) -> ToolCallParser:
        return self.use.parser(params, self.style)

    def stream(self, params: SamplingParams) -> CallStream:
        return CallStream(self.parser(params), self.style.format)

    def message(self, params: SamplingParams, text: str, finish_reason: str) -> tuple[dict[str, Any], str]:
        """The message of a finished answer, and why it ended."""
        parser, answer = self.parser(params), ParsedAnswer()
        answer.add(parser.feed(text))
        answer.add(parser.finish(cut=finish_reason == "length"))
        message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
        if answer.calls:
            message["content"] = answer.content or None
            message["tool_calls"] = [self._call(call) for call in answer.calls]
        return message, _reason(answer, finish_reason) or finish_reason

    def _call(self, call: ToolCall) -> dict[str, Any]:
        function = {"name": call.name, "arguments": call.arguments}
        return {"id": self.style.format.new_id(), "type": "function", "function": function}


def calls_of(call: Call, use: ToolUse | None) -> Calls | None:
    """Raises ApiError for a model whose way to write calls is not known."""
    if use is None:
        return None
    style = style_of(call.model.generator, call.server.settings.tool_parser)
    call.grammar_fault = partial(use.fault, style)
    return Calls(use, style)


def _reason(answer: ParsedAnswer, finish_reason: str | None) -> str | None:
    return "tool_calls" if answer.calls and finish_reason == "stop" else finish_reason


class CallStream:
    """One answer of a stream: its pieces as deltas."""

    def __init__(self, parser: ToolCallParser, format: type[Format]) -> None:
        self._parser = parser
        self._format = format
        self._answer = ParsedAnswer()
        self._shown = 0  # calls that the client has been told of, withdrawn ones too: their numbers are not used again

    def deltas(self, text: str, finish_reason: str | None) -> list[dict[str, Any]]:
        """What a piece tells, at least one delta."""
        events: Sequence[Event] = self._parser.feed(text)
        if finish_reason is not None:
            events = [*events, *self._parser.finish(cut=finish_reason == "length")]
        self._answer.add(events)
        return [delta for event in events if (delta := self._delta(event)) is not None] or [{}]

    def reason(self, finish_reason: str | None) -> str | None:
        return _reason(self._answer, finish_reason)

    def _delta(self, event: Event) -> dict[str, Any] | None:
        if isinstance(event, ContentText):
            return {"content": event.text}
        if isinstance(event, CallWithdrawn):
            return None  # its text follows as content
        call: dict[str, Any] = {"index": self._shown - 1}
        if isinstance(event, CallBegun):
            self._shown += 1
            function = {"name": event.name, "arguments": ""}
            call = {"index": self._shown - 1, "id": self._format.new_id(), "type": "function", "function": function}
        elif isinstance(event, ArgumentsText):
            call["function"] = {"arguments": event.text}
        return {"tool_calls": [call]}
