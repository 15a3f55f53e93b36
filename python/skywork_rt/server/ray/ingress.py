"""What clients speak to: reads a request, lets the router choose a replica, and hands its messages on.

Nothing of a request is decided here but where it goes. A replica that dies before its answer has begun is none of the
client's business: the request goes to another one. After that the client is told, in an event of its stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from skywork_rt.routing.prefix import prefix_of_request
from skywork_rt.server.answers import error_response, event
from skywork_rt.server.errors import ApiError, ClientGone
from skywork_rt.server.limits import read_body
from skywork_rt.server.log import log_event
from skywork_rt.server.ray.exchange import Exchange
from skywork_rt.server.settings import ServerSettings

__all__ = ["Ingress"]

_ATTEMPTS = 3
_LOST = ApiError(503, "The replica that answered has ended; send the request again.", code="replica_lost", retry=True)
_SAMPLE = re.compile(rb"^([A-Za-z_:][\w:]*)(?:\{(.*)\})?( .*)$")


class Front:
    """The ASGI application before the replicas."""

    def __init__(self, replicas: Any, settings: ServerSettings) -> None:
        """`replicas`: the handle of their deployment."""
        self._replicas = replicas
        self._models = tuple(settings.models)
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        answer = _Answer(scope, send)
        try:
            body = await read_body(Request(scope, receive), self._settings)
            exchange = Exchange.of(scope, body)
            if exchange.scope["path"] == "/metrics":
                await self._metrics(exchange, answer)
            else:
                await self._relay(_parsed(body), exchange, receive, answer)
        except ClientGone:
            return
        except ApiError as error:
            await answer.fail(error)

    async def _relay(self, parsed: Any, exchange: Exchange, receive: Receive, answer: _Answer) -> None:
        exchange.prefix = prefix_of_request(parsed)
        model = parsed.get("model") if isinstance(parsed, dict) and len(self._models) > 1 else None
        options = {"multiplexed_model_id": model} if model in self._models else {}
        method = self._replicas.messages.options(stream=True, **options)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._relay_once(method.remote(exchange), receive, answer)
                return
            except (RayActorError, DeploymentUnavailableError) as error:
                log_event("a replica was lost", attempt=attempt, begun=answer.begun, reason=type(error).__name__)
                if answer.begun or attempt == _ATTEMPTS:
                    raise _LOST from error
            except BackPressureError as error:
                raise ApiError(429, "Too many requests wait; try again later.", code="busy", retry=True) from error
            except (RayTaskError, RayServeException) as error:
                log_event("a replica failed", reason=f"{type(error).__name__}: {error}"[:2000])
                raise ApiError(500, "The server failed; its log has the reason.", code="internal") from error

    async def _relay_once(self, stream: Any, receive: Receive, answer: _Answer) -> None:
        """All messages; when the client leaves, the replica hears of it."""
        relaying = asyncio.ensure_future(_hand_on(stream, answer))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait([relaying, leaving], return_when=asyncio.FIRST_COMPLETED)
            if relaying.done():
                relaying.result()
        finally:
            leaving.cancel()
            if not relaying.done():
                stream.cancel()
                relaying.cancel()
                with contextlib.suppress(asyncio.CancelledError, TaskCancelledError, RayServeException, RayActorError):
                    await relaying

    async def _metrics(self, exchange: Exchange, answer: _Answer) -> None:
        """Those of all replicas, each sample with its replica's name."""
        try:
            told = await self._replicas.broadcast("whole", exchange).results_async(timeout_s=10)
        except (RayActorError, RayServeException, TimeoutError) as error:
            raise ApiError(503, f"A replica does not answer ({type(error).__name__}).", retry=True) from error
        refused = next(((status, body) for _, status, body in told if status != 200), None)
        status, body = refused or (200, merge_metrics([(name, body) for name, _, body in told]))
        kind = b"application/json" if refused else b"text/plain; version=0.0.4; charset=utf-8"
        await answer.pass_on({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await answer.pass_on({"type": "http.response.body", "body": body})


@serve.ingress()
class Ingress:
    """The deployment that Ray's proxies call."""

    def __init__(self, replicas: Any, settings: ServerSettings) -> None:
        self._front = Front(replicas, settings)

    def __serve_build_asgi_app__(self) -> Front:
        """Ray asks for the application once this object is made."""
        return self._front


class _Answer:
    """How far the client's answer is."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.begun = False
        self._scope = scope
        self._send = send
        self._events = False

    async def pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self._events = any(
                name.lower() == b"content-type" and value.startswith(b"text/event-stream")
                for name, value in message["headers"]
            )
        await self._send(message)

    async def fail(self, error: ApiError) -> None:
        """An answer of its own, or where one has begun the last event of its stream."""
        if not self.begun:
            await error_response(error)(self._scope, _nothing_more, self._send)
            return
        body = event(error.body()) if self._events else b""
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def _hand_on(stream: Any, answer: _Answer) -> None:
    async for batch in stream:
        for message in batch:
            await answer.pass_on(message)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}


def _parsed(body: bytes) -> Any:
    """None for what is no JSON: the replica says what is wrong with it."""
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def merge_metrics(told: list[tuple[str, bytes]]) -> bytes:
    """Texts of Prometheus by replica as one: a family's help and type once, a label `replica` at each sample."""
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    for replica, text in told:
        comments: list[bytes] = []
        family = b""
        for line in text.splitlines():
            if line.startswith(b"#"):
                words = line.split(b" ", 3)
                if len(words) > 2 and words[2] != family:
                    family, comments = words[2], []
                comments.append(line)
                families.setdefault(family, (comments, []))
            elif match := _SAMPLE.match(line):
                name, labels, rest = match.groups()
                label = b'replica="' + replica.encode() + b'"' + (b"," + labels if labels else b"")
                families.setdefault(family, (comments, []))[1].append(name + b"{" + label + b"}" + rest)
    return b"".join(line + b"\n" for comments, samples in families.values() for line in (*comments, *samples))
