"""What all requests of a server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import Request

from skywork_rt.server.metrics import Metrics
from skywork_rt.server.models import Models
from skywork_rt.server.settings import ServerSettings

__all__ = ["Running", "Server", "server_of"]

_END_SECONDS = 5.0


class Running(Protocol):
    """A request to a model while it is answered."""

    @property
    def task(self) -> asyncio.Task[None]: ...

    def end(self) -> None:
        """Has its client told that the server stops."""
        ...


@dataclass
class Server:
    """One application. It is ready between its start and the beginning of its end."""

    settings: ServerSettings
    models: Models
    metrics: Metrics
    ready: bool = False
    draining: bool = False
    failure: Exception | None = None
    """Why the first model could not be opened."""
    on_failure: Callable[[], None] | None = None
    """Told of it."""
    running: set[Running] = field(default_factory=set)
    """Requests to models, which a drain waits for."""

    async def drain(self, seconds: float) -> None:
        """Takes no more requests, lets those that run go on for so long, and then ends them."""
        self.draining = True
        await self._wait(seconds)
        self.end_running()
        await self._wait(_END_SECONDS)

    def end_running(self) -> None:
        """Ends what runs; its clients are told so."""
        for request in list(self.running):
            request.end()

    async def _wait(self, seconds: float) -> None:
        tasks = [request.task for request in self.running]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)


def server_of(request: Request) -> Server:
    """The server that a request came to."""
    server: Server = request.app.state.server
    return server
