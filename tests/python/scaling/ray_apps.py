"""Ray Serve for the tests: one instance on two cores, applications of the real server, and plain HTTP to them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import ray
from ray import serve
from ray.serve._private.request_router import PowerOfTwoChoicesRequestRouter
from ray.serve.config import RequestRouterConfig

from skywork_rt.server.ray import build
from skywork_rt.server.ray.exchange import Exchange


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@contextmanager
def ray_serve() -> Iterator[str]:
    """The URL of a Ray instance's proxy. In this process itself handles have Ray Serve's own router, to compare with:
    the router of an application is that of its ingress."""
    own = patch.object(RequestRouterConfig, "get_request_router_class", lambda _: PowerOfTwoChoicesRequestRouter)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        with own:
            yield f"http://127.0.0.1:{port}"
        serve.shutdown()
    finally:
        ray.shutdown()


class App:
    """One application, on its own path."""

    def __init__(self, url: str, name: str, models: dict[str, Path], **options: Any) -> None:
        self.name = name
        self.url = f"{url}/{name}"
        self.models = list(models)
        named = {model: str(path) for model, path in models.items()}
        args = {"models": named, "replica_cpus": 0.1, "generator": {"backend": "native"}, **options}
        serve.run(build(args), name=name, route_prefix=f"/{name}")
        self._handle = serve.get_deployment_handle("replicas", name)

    async def stats(self) -> dict[str, dict[str, dict[str, Any]]]:
        """`Generator.stats` by replica and model."""
        return dict(await self._handle.broadcast("stats").results_async(timeout_s=10))

    async def total(self, key: str) -> int:
        return sum(int(stats[key]) for models in (await self.stats()).values() for stats in models.values())

    def kill(self, replica: str) -> None:
        """As a crash of its process."""
        ray.kill(ray.get_actor(f"SERVE_REPLICA::{self.name}#replicas#{replica}", namespace="serve"))

    async def post(self, body: dict[str, Any] | bytes, path: str = "/v1/completions") -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps({"model": self.models[0], **body}).encode()
        async with aiohttp.ClientSession() as session, session.post(self.url + path, data=data, headers=JSON) as answer:
            return answer.status, json.loads(await answer.read())

    async def post_by_default_router(self, body: dict[str, Any]) -> tuple[int, Any]:
        """As `post`, but this process chooses the replica, by Ray Serve's own router."""
        data = json.dumps({"model": self.models[0], **body}).encode()
        path = "/v1/completions"
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
        status, received = 0, b""
        async for batch in self._handle.messages.options(stream=True).remote(Exchange.of(scope, data)):
            for message in batch:
                status = message.get("status", status)
                received += message.get("body", b"")
        return status, json.loads(received)

    async def events(self, body: dict[str, Any], begun: Callable[[], None] = lambda: None) -> list[Any]:
        """The events of a stream, "[DONE]" as itself; an error is one event. `begun` is called at the first."""
        data = json.dumps({"model": self.models[0], **body, "stream": True}).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + "/v1/completions", data=data, headers=JSON) as answer,
        ):
            first = await answer.content.readline()
            begun()
            text = (first + await answer.read()).decode()
        if answer.status != 200:
            return [json.loads(text)]
        datas = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        return [data if data == "[DONE]" else json.loads(data) for data in datas]


JSON = {"content-type": "application/json"}


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10, pause: float = 0.05) -> None:
    """Waits for something of another process."""
    end = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < end, "it has not come in time"
        await asyncio.sleep(pause)
