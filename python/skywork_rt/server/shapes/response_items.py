"""The items of a response as they come: messages of one text, and calls of functions."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from skywork_rt.tool_calls.events import ArgumentsText, CallBegun, CallWithdrawn, ContentText, Event

__all__ = ["Items"]

Written = Callable[..., bytes]
"""Writes an event of a kind with these fields."""


class Items:
    """Begins an item where something else comes than before, and ends it then. Each step gives its events."""

    def __init__(self, written: Written, new_call_id: Callable[[], str]) -> None:
        self._written = written
        self._new_call_id = new_call_id
        self.all: list[dict[str, Any]] = []
        self._open = False
        self._withdrawn: list[dict[str, Any]] = []
        self._waiting: list[Any] = []  # log-probabilities of tokens whose text was held back

    @property
    def kept(self) -> list[dict[str, Any]]:
        """Without calls that turned out to be none, which a client must not run."""
        return [item for item in self.all if not any(item is each for each in self._withdrawn)]

    def take(self, found: Iterable[Event], logprobs: list[Any]) -> Iterator[bytes]:
        """What was found in a piece of the answer. Log-probabilities go with the next text that is told."""
        self._waiting += logprobs
        for event in found:
            if isinstance(event, ContentText):
                yield from self.text(event.text)
            elif isinstance(event, CallBegun):
                yield from self._begin_call(event.name)
            elif isinstance(event, ArgumentsText):
                yield from self._arguments(event.text)
            elif isinstance(event, CallWithdrawn):
                self._withdrawn.append(self.all[-1])
                yield from self.end("incomplete")

    def text(self, text: str) -> Iterator[bytes]:
        """More text, of the message that is open, or of a new one."""
        yield from self.begin_message()
        logprobs, self._waiting = self._waiting, []
        part = self.all[-1]["content"][0]
        part["text"] += text
        part["logprobs"] += logprobs
        yield self._written("response.output_text.delta", **self._place(), delta=text, logprobs=logprobs)

    def rest(self) -> Iterator[bytes]:
        """At the end of the answer: tells what waits, such as the log-probability of its last token, which has no
        text."""
        if self._waiting and self._open and self.all[-1]["type"] == "message":
            yield from self.text("")

    def begin_message(self) -> Iterator[bytes]:
        """Does nothing inside of a message."""
        if self._open and self.all[-1]["type"] == "message":
            return
        yield from self.end("completed")
        item = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "status": "in_progress"}
        yield from self._begin({**item, "content": []})
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._written("response.content_part.added", **self._place(), part=part)
        self.all[-1]["content"] = [{**part, "logprobs": []}]

    def end(self, status: str) -> Iterator[bytes]:
        """Ends what is open: completed or incomplete."""
        if not self._open:
            return
        self._open, item = False, self.all[-1]
        item["status"] = status
        place = {"item_id": item["id"], "output_index": len(self.all) - 1}
        if item["type"] == "message":
            (part,) = item["content"]
            place["content_index"] = 0
            yield self._written("response.output_text.done", **place, text=part["text"], logprobs=part["logprobs"])
            yield self._written("response.content_part.done", **place, part=part)
        else:
            yield self._written(
                "response.function_call_arguments.done", **place, name=item["name"], arguments=item["arguments"]
            )
        yield self._written("response.output_item.done", output_index=len(self.all) - 1, item=item)

    def _begin_call(self, name: str) -> Iterator[bytes]:
        yield from self.end("completed")
        item = {"id": f"fc_{uuid.uuid4().hex}", "type": "function_call", "status": "in_progress"}
        yield from self._begin({**item, "call_id": self._new_call_id(), "name": name, "arguments": ""})

    def _arguments(self, text: str) -> Iterator[bytes]:
        self.all[-1]["arguments"] += text
        place = {"item_id": self.all[-1]["id"], "output_index": len(self.all) - 1}
        yield self._written("response.function_call_arguments.delta", **place, delta=text)

    def _begin(self, item: dict[str, Any]) -> Iterator[bytes]:
        self.all.append(item)
        self._open = True
        yield self._written("response.output_item.added", output_index=len(self.all) - 1, item=item)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.all[-1]["id"], "output_index": len(self.all) - 1, "content_index": 0}
