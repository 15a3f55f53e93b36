"""What all requests of a server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request

from skywork_rt.server.metrics import Metrics
from skywork_rt.server.models import Models
from skywork_rt.server.settings import ServerSettings

__all__ = ["Server", "server_of"]


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
    running: set[asyncio.Task[object]] = field(default_factory=set)
    """The tasks of requests to models, which a drain waits for."""

    async def drain(self, seconds: float) -> None:
        """Takes no more requests, lets those that run go on for so long, and then ends them."""
        self.draining = True
        if self.running and seconds > 0:
            await asyncio.wait(set(self.running), timeout=seconds)
        self.end_running()
        if self.running:
            await asyncio.wait(set(self.running), timeout=5)

    def end_running(self) -> None:
        """Ends what runs; its clients are told so."""
        for task in list(self.running):
            task.cancel()


def server_of(request: Request) -> Server:
    """The server that a request came to."""
    server: Server = request.app.state.server
    return server
