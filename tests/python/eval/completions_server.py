"""A small server with OpenAI's routes, over a real Generator, that can be as unwilling as real ones are."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from skywork_rt import Generator


@dataclass
class Manners:
    """How the server behaves."""

    most_logprobs: int = 20
    echoes: bool = True
    refuses_echo: bool = False
    longest: int = 10**6
    key: str | None = None
    tokenizes: bool = True
    names_ids: bool | None = None
    """What becomes of logprob_token_ids: obeyed, refused, or (None) passed over."""
    models: tuple[str, ...] = ("tiny",)
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers, before one that works."""
    seen: Counter[str] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0


class Problem(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(lambda: {"data": [{"id": name} for name in self.server.manners.models]}, "/v1/models")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize" and self.server.manners.tokenizes:
            self._answer(lambda: self._tokenize(body), "/tokenize")
            return
        self._answer(lambda: self._complete(body), "/v1/completions")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""

    def _answer(self, make: Any, route: str) -> None:
        manners = self.server.manners
        with self.server.lock:
            manners.seen[self.path] += 1
            manners.at_once += 1
            manners.most_at_once = max(manners.most_at_once, manners.at_once)
            failure = manners.failures.pop(0) if manners.failures else None
        try:
            if failure is not None:
                raise Problem(failure, "busy")
            if self.path != route:
                raise Problem(404, "no such route")
            if manners.key is not None and self.headers.get("Authorization") != f"Bearer {manners.key}":
                raise Problem(401, "no key")
            status, content = 200, make()
        except Problem as problem:
            status, content = problem.status, {"error": {"message": str(problem)}}
        finally:
            with self.server.lock:
                manners.at_once -= 1
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        generator = self.server.generator
        ids = generator.encode(body["prompt"], add_special_tokens=body["add_special_tokens"])
        assert generator.tokenizer is not None and body["return_token_strs"]
        return {"tokens": ids, "token_strs": [generator.tokenizer.token(token) for token in ids]}

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        manners, generator = self.server.manners, self.server.generator
        if body["model"] not in manners.models:
            raise Problem(404, f"the model {body['model']} does not exist")
        if body["logprobs"] > manners.most_logprobs:
            raise Problem(400, f"logprobs must be at most {manners.most_logprobs}")
        ids = generator.encode(body["prompt"])
        if len(ids) > manners.longest:
            raise Problem(400, f"This model's maximum context length is {manners.longest} tokens")
        named = body.get("logprob_token_ids") or []
        if named and manners.names_ids is False:
            raise Problem(422, "logprob_token_ids: extra fields are not permitted")
        echo = bool(body.get("echo")) and manners.echoes
        if body.get("echo") and manners.refuses_echo:
            raise Problem(400, "echo is not supported")
        result = generator.generate(
            ids,
            max_tokens=1,
            temperature=0,
            logprobs=body["logprobs"],
            logprob_token_ids=named if manners.names_ids else None,
            **({"prompt_logprobs": 0} if echo else {}),
        )
        best = {generator.decode([token]): entry.logprob for token, entry in reversed(result.logprobs[0].items())}
        found = {
            "top_logprobs": [best],
            "tokens": [result.text],
            "token_logprobs": [max(best.values())],
            "text_offset": [0],
        }
        if echo:
            pieces = [generator.decode([token]) for token in ids]
            offsets = [sum(map(len, pieces[:place])) for place in range(len(pieces) + 1)]
            given = result.prompt_logprobs or []
            logprobs = [
                None if entry is None else entry[token].logprob for token, entry in zip(ids, given, strict=True)
            ]
            found = {"top_logprobs": [], "tokens": pieces, "token_logprobs": [*logprobs, max(best.values())]}
            found["text_offset"] = offsets
        return {"choices": [{"text": result.text, "logprobs": found}]}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, generator: Generator, manners: Manners) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.generator = generator
        self.manners = manners
        self.lock = threading.Lock()


@contextmanager
def serving(generator: Generator, manners: Manners) -> Iterator[str]:
    """The URL of a server that runs meanwhile."""
    server = Server(generator, manners)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
