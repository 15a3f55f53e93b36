"""The servers that are measured: a URL, or a command that starts one."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from skywork_rt.bench.process import BenchError
from skywork_rt.bench.serving.client import Client, ServerAnswerError
from skywork_rt.errors import InvalidArgumentError

__all__ = ["Target", "first_model", "free_port", "parse_targets", "wait_until_ready"]

_PORT = "{port}"
_POLL = 0.1
"""Seconds between two looks at a server that is starting."""


@dataclass(frozen=True)
class Target:
    """One server. `command` starts it, with {port} for a free port; without one it runs already."""

    label: str
    url: str
    command: str | None = None


def parse_targets(urls: Sequence[str], commands: Sequence[str]) -> list[Target]:
    """From `http://…` or `NAME=http://…`, and from `NAME=COMMAND`. Raises InvalidArgumentError."""
    targets = [_running(text, len(urls) > 1) for text in urls]
    targets += [_started(text) for text in commands]
    if not targets:
        raise InvalidArgumentError("there is no server to measure: give --url URL, or --start 'NAME=COMMAND'")
    labels = [target.label for target in targets]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise InvalidArgumentError(f"two servers are called {twice!r}; give each a name: --url NAME=URL")
    return targets


def _running(text: str, several: bool) -> Target:
    label, equals, url = text.partition("=")
    if not equals or "://" in label:
        label, url = "", text
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidArgumentError(f"--url is {text!r}, but must be http://HOST:PORT, or NAME=http://HOST:PORT")
    return Target(label or (parts.netloc if several else "server"), url)


def _started(text: str) -> Target:
    label, equals, command = text.partition("=")
    if not equals or not label.strip() or " " in label.strip() or not command.strip():
        raise InvalidArgumentError(f"--start is {text!r}, but must be 'NAME=COMMAND'")
    if _PORT not in command:
        raise InvalidArgumentError(f"--start {label}: the command needs {_PORT} where the port belongs: --port {_PORT}")
    port = free_port()
    return Target(label.strip(), f"http://127.0.0.1:{port}", command.replace(_PORT, str(port)))


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


async def wait_until_ready(
    client: Client, label: str, seconds: float, alive: Any = None, fix: str = "start it, or give the address it has"
) -> None:
    """Until /health answers 200, or where there is none /v1/models. Raises BenchError, whose message ends with
    `fix`; `alive()` may raise, too."""
    import aiohttp

    end, last = time.monotonic() + seconds, "no answer yet"
    while time.monotonic() < end:
        if alive is not None:
            alive()
        try:
            await _health(client)
            return
        except ServerAnswerError as error:
            last = f"{error.code}: {error}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            last = f"{type(error).__name__}: {error}"
        await asyncio.sleep(_POLL)
    raise BenchError(f"{label}: not ready after {seconds:g} s ({last}); {fix}")


async def _health(client: Client) -> None:
    try:
        await client.get("/health")
    except ServerAnswerError as error:
        if error.code not in ("http 404", "http 405", "http 501"):
            raise
        await client.get("/v1/models")


async def first_model(client: Client, label: str) -> str:
    """The name of the server's first model. Raises BenchError."""
    import aiohttp

    try:
        loaded = await client.get("/v1/models")
        return str(loaded["data"][0]["id"])
    except (ServerAnswerError, aiohttp.ClientError, OSError, KeyError, IndexError, TypeError) as error:
        raise BenchError(f"{label}: /v1/models names no model ({error}); give --model NAME") from None
