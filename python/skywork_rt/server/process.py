"""Running the application in this process, on granian, until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server as Granian
from starlette.applications import Starlette

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.server.app import create_app
from skywork_rt.server.log import log_event, start_logging
from skywork_rt.server.settings import ServerSettings
from skywork_rt.server.state import Server

__all__ = ["serve"]

_STOP_SECONDS = 5.0
_BACKLOG = 4096


def serve(settings: ServerSettings) -> None:
    """Serves until SIGTERM or Ctrl-C, which let running requests end first; a second one ends them.

    Raises what `create_app` does, what opening the first model does, and InvalidArgumentError for an address that
    cannot be had.
    """
    _allow_many_connections()
    app = create_app(settings)
    port = _checked_port(settings)
    listener = start_logging(sys.stderr)
    try:
        with asyncio.Runner(loop_factory=_loop_factory(settings)) as runner:
            runner.run(_serve(app, settings, port))
    finally:
        listener.stop()


async def _serve(app: Starlette, settings: ServerSettings, port: int) -> None:
    server: Server = app.state.server
    granian = Granian(
        app,
        address=settings.host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        backlog=_BACKLOG,
        backpressure=1 << 16,
        http1_settings=HTTP1Settings(header_read_timeout=round(settings.header_seconds * 1000)),
    )
    ending = _Ending(server, granian, settings)
    ending.listen()
    log_event("listening", url=f"http://{_shown(settings.host)}:{port}", models=list(settings.models))
    await granian.serve()
    if server.failure is not None:
        raise server.failure
    log_event("stopped")


class _Ending:
    """From the first signal to the end."""

    def __init__(self, server: Server, granian: Granian, settings: ServerSettings) -> None:
        self._server = server
        self._granian = granian
        self._seconds = settings.drain_seconds
        self._task: asyncio.Task[None] | None = None
        server.on_failure = self._begin

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        if self._task is None:
            log_event("stopping", signal=signal.Signals(number).name, requests=len(self._server.running))
            self._begin()
        else:
            log_event("stopping at once", signal=signal.Signals(number).name, requests=len(self._server.running))
            self._server.end_running()
            asyncio.get_running_loop().call_later(_STOP_SECONDS, os._exit, 128 + number)

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        await self._server.drain(self._seconds)
        self._granian.stop()  # type: ignore[no-untyped-call]


def _checked_port(settings: ServerSettings) -> int:
    """The port, for 0 a free one. Raises InvalidArgumentError when it cannot be had."""
    try:
        info = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(info[0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(info[4])
            return int(probe.getsockname()[1])
    except OSError as error:
        raise InvalidArgumentError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; choose another host or port"
        ) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory(settings: ServerSettings) -> Any:
    if not settings.uvloop:
        return None
    try:
        import uvloop
    except ModuleNotFoundError as error:
        raise InvalidArgumentError("uvloop is not installed: pip install uvloop") from error
    return uvloop.new_event_loop
