"""What every request passes, from the outside in: its id and log line, where it comes from, the key. Those to models
then take one of the `places`."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skywork_rt.server.answers import refuse
from skywork_rt.server.errors import ApiError, api_error
from skywork_rt.server.log import log_request, note_failure
from skywork_rt.server.state import Server
from skywork_rt.server.ticket import Ticket

__all__ = ["Keys", "Origins", "Tickets"]

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Tickets:
    """Gives every request an id (its own X-Request-Id, or a new one), and writes its log line."""

    def __init__(self, app: ASGIApp, server: Server, paths: Iterable[str]) -> None:
        self._app = app
        self._server = server
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        ticket = Ticket(name, scope["method"], scope["path"])
        ticket.attach(scope)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                ticket.status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            note_failure(scope, error)
            if ticket.status is None:
                await refuse(api_error(error), scope, receive, noting)
        finally:
            self._close(ticket)

    def _close(self, ticket: Ticket) -> None:
        path = ticket.path if ticket.path in self._paths else "other"
        metrics, model = self._server.metrics, str(ticket.facts.get("model", ""))
        metrics.answered(path, 499 if ticket.gone else ticket.status or 500)
        if ticket.gone:
            metrics.left(model)
        elif ticket.code is not None:
            metrics.failed(model, ticket.code)
        log_request(ticket, time.monotonic() - ticket.begun, self._server.settings.log_prompts)


class Keys:
    """Lets pass who has one of the keys; compares all of them, in constant time."""

    def __init__(self, app: ASGIApp, keys: Iterable[str], open_paths: Iterable[str]) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open and not self._allows(scope):
            error = ApiError(
                401, "The API key is missing or wrong; send it as: Authorization: Bearer KEY", code="invalid_api_key"
            )
            await refuse(error, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        given = _digest(key.strip())
        found = [hmac.compare_digest(given, digest) for digest in self._digests]
        return kind.lower() == "bearer" and any(found)


def _digest(key: str) -> bytes:
    """All of one length, so that the time to compare says nothing about it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class Origins:
    """Refuses what a web page of another origin asks. A browser keeps the answer from such a page, but sends many a
    request all the same, and a server on loopback is there for every page that its user opens."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._allows(Headers(scope=scope)):
            error = ApiError(
                403,
                "Pages of this origin may not call; start the server with --cors-origin ORIGIN to allow it.",
                code="origin_not_allowed",
            )
            await refuse(error, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        return origin.partition("://")[2] == headers.get("host")
