"""A replica: the application of `skywork-rt serve` in one of Ray's processes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from ray import serve
from starlette.types import Message

from skywork_rt.errors import BackendError
from skywork_rt.server.app import create_app
from skywork_rt.server.errors import ApiError
from skywork_rt.server.models import Model
from skywork_rt.server.ray.exchange import Exchange, run
from skywork_rt.server.settings import ServerSettings
from skywork_rt.server.state import Server

__all__ = ["Replica", "replica_class"]

_POLL = 0.02


class Replica:
    """Runs requests on its own models. It is there for Ray once its first model is warm."""

    async def __init__(self, settings: ServerSettings) -> None:  # type: ignore[misc]  # Ray awaits it
        self._app = create_app(settings)
        self._server: Server = self._app.state.server
        self._lifespan = self._app.router.lifespan_context(self._app)
        await self._lifespan.__aenter__()
        while not self._server.ready:
            if self._server.failure is not None:
                raise BackendError(f"the model cannot be opened: {self._server.failure}")
            await asyncio.sleep(_POLL)
        self._loop = asyncio.get_running_loop()
        self._several = len(settings.models) > 1
        if self._several:
            await self.hold(self._server.models.first.name)  # which is open already: for Ray to know

    async def messages(self, exchange: Exchange) -> AsyncIterator[list[Message]]:
        """ASGI's messages of the answer, a list of those that came together at a time."""
        model = serve.get_multiplexed_model_id() if self._several else ""
        if model:
            with contextlib.suppress(ApiError):  # the application itself tells the client why
                await self.hold(model)
        async for batch in run(self._app, exchange):
            yield batch

    async def whole(self, exchange: Exchange) -> tuple[str, int, bytes]:
        """The replica's name, and the status and body of an answer without a stream."""
        status, body = 500, b""
        async for batch in run(self._app, exchange):
            for message in batch:
                status = message.get("status", status)
                body += message.get("body", b"")
        return self.name, status, body

    async def stats(self) -> tuple[str, dict[str, dict[str, Any]]]:
        """The replica's name, and `Generator.stats` of its open models by name."""
        return self.name, {model.name: stats for model in self._server.models if (stats := model.stats())}

    @property
    def name(self) -> str:
        return str(serve.get_replica_context().replica_id.unique_id)

    def check_health(self) -> None:
        """Ray asks now and then, and replaces a replica that raises."""
        if self._server.failure is not None:
            raise BackendError(self._server.failure)

    async def hold(self, name: str) -> _Held:
        """Opens a model. What Ray keeps of it, so that its router knows where it is open."""
        model = self._server.models.named(name)
        async with self._server.models.use(model):
            return _Held(model, self._loop)

    async def __del__(self) -> None:
        if hasattr(self, "_lifespan"):  # Ray calls this once, when no request is left
            lifespan = self._lifespan
            del self._lifespan
            await lifespan.__aexit__(None, None, None)


def replica_class(most_models: int) -> type[Replica]:
    """Replicas with so many open models at most: Ray wants the number where `hold` is defined."""

    class ReplicaOfModels(Replica):
        @serve.multiplexed(max_num_models_per_replica=most_models)  # type: ignore[untyped-decorator]
        async def hold(self, name: str) -> _Held:
            return await Replica.hold(self, name)

    return ReplicaOfModels


class _Held:
    """A model that counts among those of its replica. Ray calls `__del__`, in a thread, to have it closed."""

    def __init__(self, model: Model, loop: asyncio.AbstractEventLoop) -> None:
        self._model: Model | None = model
        self._loop = loop

    def __del__(self) -> None:
        model, self._model = self._model, None
        if model is None or self._loop.is_closed():
            return
        while model.users:  # its requests may end first
            time.sleep(_POLL)
        asyncio.run_coroutine_threadsafe(model.close(), self._loop)
