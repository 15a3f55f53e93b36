"""The answer of /v1/responses, whole or by events: a message, and calls of functions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from skywork_rt.api.params import SamplingParams
from skywork_rt.api.results import Piece, RequestOutput
from skywork_rt.server.answers import event
from skywork_rt.server.errors import ApiError
from skywork_rt.server.models import Model
from skywork_rt.server.schemas.responses import ResponseFields
from skywork_rt.server.shapes.logprobs import Shown, chat_logprobs
from skywork_rt.server.shapes.response_items import Items
from skywork_rt.server.tools.answer import Calls
from skywork_rt.tool_calls.events import ContentText, Event, without_withdrawn

__all__ = ["ResponseShape"]


class ResponseShape:
    """Writes one answer; events are numbered in the order in which they are made."""

    def __init__(self, model: Model, request: ResponseFields, params: SamplingParams, calls: Calls | None) -> None:
        self._model = model
        self._request = request
        self._params = params
        self._calls = calls
        self._parser = calls.parser(params) if calls is not None else None
        self._id = f"resp_{uuid.uuid4().hex}"
        self._created = time.time()
        self._number = 0
        self._items = Items(self._event, calls.style.format.new_id if calls is not None else str)

    def whole(self, result: RequestOutput) -> dict[str, Any]:
        """The whole answer."""
        output = result.outputs[0]
        found = without_withdrawn(self._found(output.text, output.finish_reason))
        for _ in self._items.take(found, self._logprobs(output.logprobs, output.token_ids)):
            pass
        for _ in self.closing(result):
            pass
        return self._finished(result)

    def opening(self) -> Iterator[bytes]:
        """The events before anything is said."""
        yield self._event("response.created", response=self._heading("in_progress", []))
        yield self._event("response.in_progress", response=self._heading("in_progress", []))
        if self._parser is None:
            yield from self._items.begin_message()

    def piece(self, piece: Piece) -> Iterator[bytes]:
        """The events of a piece."""
        found = self._found(piece.text, piece.finish_reason)
        logprobs = self._logprobs(piece.logprobs, piece.token_ids)
        if self._parser is None and not found and logprobs:
            found = [ContentText("")]
        return self._items.take(found, logprobs)

    def closing(self, result: RequestOutput) -> Iterator[bytes]:
        """The events behind everything."""
        if not self._items.all:
            yield from self._items.begin_message()
        yield from self._items.rest()
        yield from self._items.end(_status(result))
        answer = self._finished(result)
        yield self._event(f"response.{answer['status']}", response=answer)

    def failed(self, error: ApiError) -> bytes:
        """The event that ends a stream early."""
        return self._event("error", message=error.message, param=error.param, code=error.code)

    def _found(self, text: str, finish_reason: str | None) -> list[Event]:
        """What a piece of text, or all of it, tells."""
        if self._parser is None:
            return [ContentText(text)] if text else []
        found = self._parser.feed(text)
        return found if finish_reason is None else [*found, *self._parser.finish(cut=finish_reason == "length")]

    def _finished(self, result: RequestOutput) -> dict[str, Any]:
        """The whole answer. One that ended by length is incomplete."""
        status = _status(result)
        return {
            **self._heading(status, self._items.kept),
            "completed_at": time.time(),
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "usage": _usage(result),
        }

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number - 1, **fields}, kind)

    def _logprobs(self, rows: Any, ids: list[int]) -> list[dict[str, Any]]:
        shown = Shown.of(self._request.top, self._params)
        return [] if rows is None or shown is None else chat_logprobs(self._model.tokens, rows, ids, shown)

    def _heading(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        request, params = self._request, self._params
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": {},
            "model": self._model.name,
            "output": output,
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": params.temperature,
            "text": {"format": (request.text or {}).get("format") or {"type": "text"}},
            "tool_choice": request.tool_choice or "auto",
            "tools": request.tools or [],
            "top_logprobs": request.top,
            "top_p": params.top_p,
            "truncation": "disabled",
            "usage": None,
        }


def _status(result: RequestOutput) -> str:
    return "incomplete" if result.outputs[0].finish_reason == "length" else "completed"


def _usage(result: RequestOutput) -> dict[str, Any]:
    prompt, made = len(result.prompt_token_ids), result.timings.tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": result.num_cached_tokens, "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + made,
    }
