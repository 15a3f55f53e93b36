"""One call to a server that speaks OpenAI's protocol, with the moments at which its pieces came.

aiohttp reads the answers: at 64 streams an event takes 0.02 to 0.06 ms of processor time with it, and 0.11 to 0.2 with
httpx, and the client must not slow down what it measures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from skywork_rt.bench.serving.calls import Call
from skywork_rt.errors import UnsupportedError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Answer", "Client", "ServerAnswerError", "require_aiohttp"]

_LONGEST_LINE = 64 << 20  # bytes of one event; a server that sends more of it is broken


class ServerAnswerError(Exception):
    """The server answered, but not with an answer. `code` names the kind in tables: `http 429`, `cut`, …"""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Answer:
    """What came of one call: moments in seconds on the clock that the load gave."""

    arrival: float
    """When it was planned; a client that is late is the client's fault, and still counts."""
    sent: float
    pieces: list[float] = field(default_factory=list)
    """When each piece of text came."""
    end: float = 0.0
    tokens: int = 0
    prompt_tokens: int | None = None
    counted_by: Literal["usage", "pieces"] = "pieces"
    error: str | None = None
    """`http 429`, `connection`, `timeout`, `cut` (the stream ended too early), `no tokens`, …; None: it is whole."""
    message: str = ""
    left: bool = False
    """The client left on purpose."""


def require_aiohttp() -> None:
    """Raises UnsupportedError with the command that installs it."""
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise UnsupportedError("bench serve needs aiohttp; install it: pip install 'skywork_rt[bench]'") from error


class Client:
    """Calls of one server. Use it as an async context manager; it has as many connections as calls at once.

    Each call has a connection of its own: some servers close those that are kept without a word (ik_llama.cpp's after
    a few calls), and the next call on such a one would be an error that no user made.
    """

    def __init__(
        self, url: str, model: str, *, extra: Mapping[str, Any] | None = None, key: str | None = None, timeout: float
    ) -> None:
        """`url`: with or without /v1. `extra`: fields that every request carries. `timeout`: seconds of one call."""
        self._url = url.rstrip("/").removesuffix("/v1")
        self._model = model
        self._extra = dict(extra or {})
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers=self._headers,
            read_bufsize=1 << 20,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Any:
        """The JSON of a GET, or the text if it is none. Raises ServerAnswerError, or aiohttp's errors."""
        assert self._session is not None
        async with self._session.get(self._url + path) as response:
            body = await response.text()
            if response.status != 200:
                raise ServerAnswerError(f"http {response.status}", body[:500])
            try:
                return json.loads(body)
            except ValueError:
                return body

    async def call(self, call: Call, clock: Any, arrival: float) -> Answer:
        """Sends the call and reads its answer; what goes wrong is in the Answer. `clock`: has now(), in seconds."""
        import aiohttp

        answer = Answer(arrival, clock.now())
        try:
            await self._exchange(call, clock, answer)
        except ServerAnswerError as error:
            answer.error, answer.message = error.code, str(error)
        except TimeoutError:  # aiohttp's derives from it
            answer.error, answer.message = "timeout", f"no whole answer within {self._timeout:g} s"
        except aiohttp.ClientPayloadError as error:
            answer.error, answer.message = "cut", str(error)
        except (aiohttp.ClientError, OSError) as error:
            answer.error, answer.message = "connection", f"{type(error).__name__}: {error}"
        answer.end = answer.end or clock.now()
        return answer

    async def _exchange(self, call: Call, clock: Any, answer: Answer) -> None:
        assert self._session is not None
        path, body = self._request(call)
        async with self._session.post(self._url + path, json=body) as response:
            if response.status != 200:
                raise ServerAnswerError(f"http {response.status}", (await response.text())[:500])
            if not call.stream:
                _read_whole(await response.json(content_type=None), answer, clock.now())
            else:
                await _read_stream(response, call, clock, answer)
                if answer.left:
                    response.close()  # the connection, too, so that the server sees that nobody reads
                    return
        if not answer.tokens:
            raise ServerAnswerError("no tokens", "the answer is whole, but has no tokens")

    def _request(self, call: Call) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {"model": self._model, "max_tokens": call.new_tokens, "temperature": 0.0}
        if call.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if call.is_chat:
            messages: Any = call.prompt
            body["messages"] = [{"role": role, "content": content} for role, content in messages]
            return "/v1/chat/completions", body | self._extra
        body["prompt"] = call.prompt if isinstance(call.prompt, str) else list(call.prompt)
        return "/v1/completions", body | self._extra


def _read_whole(loaded: Any, answer: Answer, now: float) -> None:
    if not isinstance(loaded, dict) or not isinstance(loaded.get("choices"), list):
        raise ServerAnswerError("not OpenAI's", f"the answer has no choices: {str(loaded)[:200]}")
    answer.end = now
    _count(loaded, answer)
    if answer.counted_by == "pieces":
        answer.tokens = 1  # all that is known


async def _read_stream(response: aiohttp.ClientResponse, call: Call, clock: Any, answer: Answer) -> None:
    rest = b""
    done = False
    async for block in response.content.iter_any():
        now = clock.now()
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            raise ServerAnswerError("not OpenAI's", f"a line of the stream is longer than {_LONGEST_LINE} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                done = _read_event(line[5:].strip(), answer, now) or done
        if call.leave_after is not None and len(answer.pieces) >= call.leave_after and not done:
            answer.left, answer.end, answer.tokens = True, now, len(answer.pieces)
            return
    if not done:
        raise ServerAnswerError("cut", f"the stream ended after {len(answer.pieces)} pieces, without [DONE]")
    if answer.counted_by == "pieces":
        answer.tokens = len(answer.pieces)
    if answer.pieces:
        answer.end = answer.pieces[-1]


def _read_event(data: bytes, answer: Answer, now: float) -> bool:
    """Returns whether this was the end of the stream."""
    if data == b"[DONE]":
        return True
    try:
        loaded = json.loads(data)
    except ValueError:
        raise ServerAnswerError("not OpenAI's", f"an event is no JSON: {data[:200]!r}") from None
    if not isinstance(loaded, dict):
        raise ServerAnswerError("not OpenAI's", f"an event is no object: {data[:200]!r}")
    if "error" in loaded:
        error = loaded["error"]
        code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
        raise ServerAnswerError(f"in stream: {code or 'error'}", str(error)[:500])
    choices = loaded.get("choices")
    if choices and _has_text(choices[0]):
        answer.pieces.append(now)
    _count(loaded, answer)
    return False


def _has_text(choice: Any) -> bool:
    delta = choice.get("delta") or {}
    return bool(choice.get("text") or delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls"))


def _count(loaded: Mapping[str, Any], answer: Answer) -> None:
    usage = loaded.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
        answer.tokens, answer.counted_by = usage["completion_tokens"], "usage"
        answer.prompt_tokens = usage.get("prompt_tokens")
