"""Answers on the wire: JSON objects, errors, and streams of server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from skywork_rt.server.errors import ApiError, api_error
from skywork_rt.server.log import note_failure
from skywork_rt.server.ticket import ticket_of_scope

__all__ = ["DONE", "EventStream", "Json", "error_response", "event", "refuse", "stopping"]

DONE = b"data: [DONE]\n\n"
"""Ends a stream of completions or chats."""


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class Json(Response):
    """A JSON object."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dump(content)


def error_response(error: ApiError) -> Json:
    """An error as an answer of its own."""
    return Json(error.body(), status_code=error.status, headers=error.headers)


async def refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with an error, which the log line and the metrics tell, too."""
    ticket_of_scope(scope).code = error.code
    await error_response(error)(scope, receive, send)


def event(value: Any, name: str | None = None) -> bytes:
    """One server-sent event; `name` is its type where a client tells several apart."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + dump(value) + b"\n\n"


class EventStream(Response):
    """A stream of server-sent events. What fails after the first byte is an event too, and ends the stream."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        holding: AsyncExitStack,
        *,
        error_event: Callable[[ApiError], bytes] | None = None,
    ) -> None:
        """holding: what `events` need until they end, or are not read any further: the model, the work in the engine.
        It is let go of even if no event is ever asked for. error_event: how an error is written; else as its object."""
        self._events = events
        self._holding = holding
        self._error_event = error_event or _error_event
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        try:
            async with self._holding, aclosing(self._events) as events:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                async for chunk in events:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except asyncio.CancelledError:
            if not ticket_of_scope(scope).ended:
                raise
            await self._send_error(scope, send, stopping())
        except Exception as error:
            note_failure(scope, error)
            await self._send_error(scope, send, api_error(error))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_error(self, scope: Scope, send: Send, error: ApiError) -> None:
        ticket_of_scope(scope).code = error.code
        await send({"type": "http.response.body", "body": self._error_event(error), "more_body": True})


def _error_event(error: ApiError) -> bytes:
    return event(error.body())


def stopping() -> ApiError:
    """What a request is told that a stopping server does not take, or ends."""
    return ApiError(503, "The server is stopping; try again later, or another one.", code="stopping", retry=True)
