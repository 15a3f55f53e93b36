"""A stand-in before a real server, below a path as of a proxy: it answers every chat with 50,000 characters of
Markdown, in small pieces."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

PREFIX = "/behind/a-proxy"
LENGTH = 50_000
PIECE = 16  # characters of an event: some tokens, as a quick server sends them
PIECES_PER_SECOND = 1000

_CHAPTER = """\
## Chapter {number}

A paragraph with **strong words**, some `code`, a [link](https://example.org/{number}) and *emphasis* that goes on for a
while, so that it is broken into a few lines on any screen.

- one thing of {number}
- another one
  1. with a list of its own
  2. of two

```python
def chapter(number: int) -> str:
    \"\"\"What it is called.\"\"\"
    return f"chapter {{number}}" if number < {number} else "the end"
```

| name | value |
|---|---:|
| number | {number} |
| half | {half} |

> What somebody said of chapter {number}.

"""


class LongAnswer:
    """Where it listens, and what it says."""

    def __init__(self, url: str) -> None:
        self.url = url
        chapters = (_CHAPTER.format(number=number, half=number / 2) for number in range(1, 1000))
        self.text = "".join(chapters)[:LENGTH]


@contextmanager
def long_answer(real: str, pieces_per_second: int = PIECES_PER_SECOND) -> Iterator[LongAnswer]:
    """Everything but chats comes from the server at `real`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if not self.path.startswith(PREFIX + "/"):
                self.send_error(404)
                return
            found = client.get(self.path.removeprefix(PREFIX), headers={"accept-encoding": "identity"})
            self.send_response(found.status_code)
            for name, value in found.headers.items():
                if name not in ("date", "server", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(found.content)))
            self.end_headers()
            self.wfile.write(found.content)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            with suppress(ConnectionError):  # who has heard enough leaves
                self._say()

        def _say(self) -> None:
            begun = time.monotonic()
            for number, at in enumerate(range(0, LENGTH, PIECE)):
                self._event({"delta": {"content": said.text[at : at + PIECE]}, "finish_reason": None}, number + 1)
                time.sleep(max(0.0, begun + number / pieces_per_second - time.monotonic()))
            self._event({"delta": {}, "finish_reason": "stop"}, LENGTH // PIECE)
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, choice: dict[str, object], made: int) -> None:
            usage = {"prompt_tokens": 9, "completion_tokens": made, "total_tokens": 9 + made}
            chunk = {"choices": [{"index": 0, **choice}], "usage": usage}
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    client = httpx.Client(base_url=real)
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    said = LongAnswer(f"http://127.0.0.1:{served.server_address[1]}{PREFIX}")
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    try:
        yield said
    finally:
        served.shutdown()
        served.server_close()
        client.close()
