"""Requests to a server with OpenAI's routes: retries, and errors that name their cause."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from skywork_rt.errors import BackendError, InvalidArgumentError, UnsupportedError

if TYPE_CHECKING:
    import httpx

__all__ = ["Refused", "ServerClient"]

_TIMEOUT_SECONDS = 600.0
_CONNECT_SECONDS = 10.0
_LONGEST_PAUSE = 30.0
_AGAIN = (408, 409, 425, 429)
_SAID = 400  # characters of a server's own message that are repeated


T = TypeVar("T")


class Refused(InvalidArgumentError):
    """The server understood a request and does not want it (4xx)."""

    def __init__(self, status: int, said: str, name: str, text: str) -> None:
        """`said` and `name`: the server's own message and, empty without one, its name for the error."""
        super().__init__(text)
        self.status = status
        self.said = said
        self.name = name


class ServerClient:
    """Of one server. It has an event loop of its own, which runs while `run` waits; Ctrl-C ends all requests."""

    def __init__(self, url: str, key_variable: str | None = None, attempts: int = 6, pause: float = 0.5) -> None:
        """`url`: with or without its /v1. `key_variable`: the environment variable that has the API key. A request is
        tried `attempts` times; `pause` seconds after the first failure, and twice as long after each further one.

        Raises InvalidArgumentError for what is no URL or an empty variable, UnsupportedError without httpx.
        """
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise UnsupportedError("--url needs the package httpx: pip install 'skywork-rt[eval]'") from error
        self.base = _base(url)
        self._attempts = attempts
        self._pause = pause
        self._client: httpx.AsyncClient = httpx.AsyncClient(
            headers=_headers(key_variable),
            timeout=httpx.Timeout(_TIMEOUT_SECONDS, connect=_CONNECT_SECONDS, pool=None),
        )
        self._loop = asyncio.new_event_loop()

    async def get(self, route: str) -> Any:
        """The JSON at `route`, such as /models. Raises as `post` does."""
        return await self._ask("GET", self.base + route, None)

    async def post(self, route: str, body: Mapping[str, Any], *, below_v1: bool = True) -> Any:
        """The answer's JSON. Raises Refused for 4xx, BackendError when no attempt brought an answer."""
        return await self._ask("POST", (self.base if below_v1 else self.base.removesuffix("/v1")) + route, body)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begins `work`, which goes on while `run` waits for it or for other work."""
        return self._loop.create_task(work)

    def run(self, work: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
        """Waits for the end of `work`."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Ends all that was begun. Idempotent."""
        if self._loop.is_closed():
            return
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._client.aclose()

    async def _ask(self, method: str, url: str, body: Mapping[str, Any] | None) -> Any:
        import httpx

        failure = ""
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(self._delay(attempt))
            try:
                response = await self._client.request(method, url, json=body)
            except httpx.InvalidURL as error:
                raise InvalidArgumentError(f"{url} is no URL: {error}") from error
            except httpx.TransportError as error:
                failure = f"{type(error).__name__}: {error}"
                continue
            if response.status_code < 300:
                return _json(response, url)
            failure = f"status {response.status_code}: {_said(response)}"
            if response.status_code < 500 and response.status_code not in _AGAIN:
                raise Refused(
                    response.status_code, _said(response), _code(response), _refusal(url, response, self.base)
                )
            await _honour(response)
        raise BackendError(
            f"{url} did not answer in {self._attempts} attempts; the last one: {failure}. Is the server running, and "
            "reachable from here? What was answered is kept: the same command goes on"
        )

    def _delay(self, attempt: int) -> float:
        return float(min(_LONGEST_PAUSE, self._pause * 2 ** (attempt - 1)) * random.uniform(0.8, 1.2))


async def _honour(response: httpx.Response) -> None:
    after = response.headers.get("retry-after", "")
    if after.isdecimal():
        await asyncio.sleep(min(float(after), _LONGEST_PAUSE))


def _base(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise InvalidArgumentError(f"url is {url!r}, but must begin with http:// or https://")
    base = url.rstrip("/").removesuffix("/completions").rstrip("/")
    return base if base.endswith("/v1") else base + "/v1"


def _headers(key_variable: str | None) -> dict[str, str]:
    if key_variable is None:
        return {}
    key = os.environ.get(key_variable, "").strip()
    if not key:
        raise InvalidArgumentError(f"the environment variable {key_variable} of --api-key-env is not set or empty")
    return {"Authorization": f"Bearer {key}"}


def _json(response: httpx.Response, url: str) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise BackendError(
            f"{url} answered with what is no JSON ({response.text[:80]!r}): is it such a server?"
        ) from error


def _said(response: httpx.Response) -> str:
    content = _error_of(response)
    text = str(content.get("message") or content) if content else response.text
    return " ".join(text.split())[:_SAID]


def _code(response: httpx.Response) -> str:
    return str(_error_of(response).get("code") or "")


def _error_of(response: httpx.Response) -> Mapping[str, Any]:
    """The error that an answer holds, as OpenAI writes it or without the object around it; empty for none."""
    try:
        content = response.json()
    except ValueError:
        return {}
    error = content.get("error") if isinstance(content, dict) else None
    found = error if isinstance(error, dict) else content
    return found if isinstance(found, dict) else {}


def _refusal(url: str, response: httpx.Response, base: str) -> str:
    fix = {
        401: "name the environment variable with the server's key with --api-key-env",
        403: "name the environment variable with the server's key with --api-key-env",
        404: f"check --url ({base} must have the route /completions) and --model",
        405: f"check --url ({base} must have the route /completions)",
    }.get(response.status_code, "the server does not take this request")
    return f"{url} answered {response.status_code}: {_said(response)}: {fix}"
