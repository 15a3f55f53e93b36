"""The answer of /v1/responses: one message of one text, whole or by events."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

from skywork_rt.api.params import SamplingParams
from skywork_rt.api.results import CompletionOutput, Piece, RequestOutput
from skywork_rt.server.answers import event
from skywork_rt.server.errors import ApiError
from skywork_rt.server.models import Model
from skywork_rt.server.schemas.responses import ResponseFields
from skywork_rt.server.shapes.logprobs import Shown, chat_logprobs

__all__ = ["ResponseShape"]


class ResponseShape:
    """Writes one answer; events are numbered in the order in which they are made."""

    def __init__(self, model: Model, request: ResponseFields, params: SamplingParams) -> None:
        self._model = model
        self._request = request
        self._params = params
        self._id = f"resp_{uuid.uuid4().hex}"
        self._message_id = f"msg_{uuid.uuid4().hex}"
        self._created = time.time()
        self._number = 0

    def finished(self, result: RequestOutput) -> dict[str, Any]:
        """The whole answer. One that ended by length is incomplete."""
        output = result.outputs[0]
        cut = output.finish_reason == "length"
        return {
            **self._heading("incomplete" if cut else "completed", [self._message(output)]),
            "completed_at": time.time(),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "usage": _usage(result),
        }

    def opening(self) -> Iterator[bytes]:
        """The events before the text."""
        yield self._event("response.created", response=self._heading("in_progress", []))
        yield self._event("response.in_progress", response=self._heading("in_progress", []))
        item = {"id": self._message_id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place(), part=self._part("", []))

    def delta(self, piece: Piece) -> bytes:
        """A piece of the text."""
        logprobs = self._logprobs(piece.logprobs, piece.token_ids)
        return self._event("response.output_text.delta", **self._place(), delta=piece.text, logprobs=logprobs)

    def closing(self, result: RequestOutput) -> Iterator[bytes]:
        """The events behind the text."""
        output, answer = result.outputs[0], self.finished(result)
        message = self._message(output)
        part = message["content"][0]
        logprobs = part["logprobs"]
        yield self._event("response.output_text.done", **self._place(), text=output.text, logprobs=logprobs)
        yield self._event("response.content_part.done", **self._place(), part=part)
        yield self._event("response.output_item.done", output_index=0, item=message)
        yield self._event(f"response.{answer['status']}", response=answer)

    def failed(self, error: ApiError) -> bytes:
        """The event that ends a stream early."""
        return self._event("error", message=error.message, param=error.param, code=error.code)

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number - 1, **fields}, kind)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._message_id, "output_index": 0, "content_index": 0}

    def _message(self, output: CompletionOutput) -> dict[str, Any]:
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": "incomplete" if output.finish_reason == "length" else "completed",
            "content": [self._part(output.text, self._logprobs(output.logprobs, output.token_ids))],
        }

    @staticmethod
    def _part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

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
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": params.temperature,
            "text": {"format": (request.text or {}).get("format") or {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_logprobs": request.top,
            "top_p": params.top_p,
            "truncation": "disabled",
            "usage": None,
        }


def _usage(result: RequestOutput) -> dict[str, Any]:
    prompt, made = len(result.prompt_token_ids), result.timings.tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": result.num_cached_tokens, "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + made,
    }
