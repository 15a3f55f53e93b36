"""What every request passes, from the outside in: its id and log line, where it comes from, the key, and for models a
place to run."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skywork_rt.server.answers import refuse, stopping
from skywork_rt.server.errors import ApiError, api_error
from skywork_rt.server.log import log_request, note_failure
from skywork_rt.server.state import Server
from skywork_rt.server.ticket import Ticket, ticket_of_scope

__all__ = ["Keys", "Origins", "Places", "Tickets"]

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


class Places:
    """Runs the requests to models, as many at once as may be, and ends those whose client has left."""

    def __init__(self, app: ASGIApp, server: Server, paths: Iterable[str]) -> None:
        self._app = app
        self._server = server
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal()
        if refusal is not None:
            await refuse(refusal, scope, receive, send)
            return
        await self._run(scope, receive, send)

    def _refusal(self) -> ApiError | None:
        server = self._server
        if server.draining:
            return stopping()
        if not server.ready:
            return ApiError(503, "The model is still being loaded; try again soon.", code="loading", retry=True)
        most = server.settings.max_requests
        if len(server.running) >= most:
            return ApiError(429, f"{most} requests run or wait already; try again later.", code="busy", retry=True)
        return None

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """In a task of its own, which is cancelled when the client leaves or the server stops."""
        ticket = ticket_of_scope(scope)
        client = _Client(self._app, scope, receive, send, ticket)
        self._server.running.add(client)
        try:
            await client.task
        except asyncio.CancelledError:
            if not ticket.gone and not ticket.ended:
                raise  # of this task itself: the HTTP server has given up
            if not ticket.gone and ticket.status is None:
                await refuse(stopping(), scope, receive, send)
        finally:
            self._server.running.discard(client)
            await client.stop_watching()


class _Client:
    """One request in a task of its own. Once its body has come whole, the client's leaving is listened for."""

    def __init__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, ticket: Ticket) -> None:
        self._receive = receive
        self._send = send
        self._ticket = ticket
        self._left = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._sending = False
        self._sent = False
        self._ends_after_send = False
        self._task: asyncio.Task[None] = asyncio.create_task(self._answer(app, scope))

    @property
    def task(self) -> asyncio.Task[None]:
        return self._task

    def end(self) -> None:
        """Cancels the task, but not in the middle of what it sends: the client is to hear why."""
        if self._ticket.ended:
            return
        self._ticket.ended = True
        if self._sending:
            self._ends_after_send = True
        else:
            self._task.cancel()

    async def receive(self) -> Message:
        if self._watch is not None:
            await self._left.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._ticket.gone = True
        elif not message.get("more_body", False):
            self._watch = asyncio.create_task(self._wait_for_end())
        return message

    async def send(self, message: Message) -> None:
        is_body = message["type"] == "http.response.body"
        more = is_body and message.get("more_body", False)
        self._sent = is_body and not more
        self._sending = True
        try:
            await self._send(message)
        finally:
            self._sending = False
        if self._ends_after_send and more:  # a stream; an answer whose head is out goes out whole
            self._ends_after_send = False
            raise asyncio.CancelledError

    async def stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    async def _answer(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self.receive, self.send)

    async def _wait_for_end(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._sent:  # it has its whole answer
            return
        self._ticket.gone = True
        self._left.set()
        self._task.cancel()
