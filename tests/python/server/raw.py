"""Sockets, for what no HTTP client does."""

from __future__ import annotations

import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

__all__ = ["answer_of", "connect", "post_head", "read_some", "request_bytes"]


def connect(url: str, seconds: float = 30) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=seconds)


def request_bytes(path: str, body: Any) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return post_head(path, len(content)) + content


def post_head(path: str, length: int) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json", f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_some(connection: socket.socket) -> bytes:
    """Until something has come."""
    return connection.recv(65536)


def answer_of(connection: socket.socket, seconds: float = 30) -> bytes:
    """All that comes until the server closes the connection."""
    connection.settimeout(seconds)
    received, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            chunk = connection.recv(65536)
        except ConnectionResetError:
            break
        if not chunk:
            break
        received += chunk
    return received
