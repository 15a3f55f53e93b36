"""A place to run for each request to a model: as many at once as may be, each in a task of its own, which ends when its
client leaves or the server stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skywork_rt.server.answers import refuse, stopping
from skywork_rt.server.errors import ApiError
from skywork_rt.server.state import Server
from skywork_rt.server.ticket import Ticket, ticket_of_scope

__all__ = ["Places"]


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
