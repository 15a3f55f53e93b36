"""Errors as OpenAI writes them: a status, and {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from skywork_rt.errors import (
    BusyError,
    CancelledError,
    CapacityError,
    ClosedError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    SkyworkError,
    UnsupportedError,
)

__all__ = ["ApiError", "ClientGone", "api_error", "wrong"]

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
"""OpenAI's `type` by status; else invalid_request_error below 500, and server_error from there."""

_CODES = {400: "invalid_value", 503: "unavailable"}
"""`code` by status, where no closer one is given."""

_STATUS: tuple[tuple[type[SkyworkError], int, str], ...] = (
    (BusyError, 429, "busy"),
    (CapacityError, 400, "context_length_exceeded"),
    (InvalidArgumentError, 400, "invalid_value"),
    (UnsupportedError, 400, "unsupported"),
    (DeadlineExceededError, 504, "deadline_exceeded"),
    (CancelledError, 503, "cancelled"),
    (ClosedError, 503, "closed"),
    (InternalError, 500, "internal"),
    (SkyworkError, 500, "backend"),
)
"""The first class that an error is an instance of counts."""

RETRY_SECONDS = 1


class ClientGone(Exception):
    """The client has closed its connection: nobody reads an answer."""


class ApiError(Exception):
    """What a client is told instead of an answer.

    message: the cause and the fix. param: the field of the request that is wrong. code: a stable name of the kind.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code or _CODES.get(status)
        self.headers = {"retry-after": str(RETRY_SECONDS)} if retry else {}
        if status in (408, 413):
            self.headers["connection"] = "close"  # the rest of the body is not read
        if status == 401:
            self.headers["www-authenticate"] = "Bearer"

    @property
    def type(self) -> str:
        """OpenAI's name of the family of errors."""
        return _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    def body(self) -> dict[str, Any]:
        """The object that is sent, in an answer or as an event of a stream."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def wrong(field: str, message: str, code: str = "invalid_value") -> ApiError:
    """A 400 about a field, whose name the message begins with."""
    return ApiError(400, f"{field} {message}", param=field, code=code)


def api_error(error: Exception, fields: Collection[str] = (), names: Mapping[str, str] | None = None) -> ApiError:
    """What a client is told of an error of the runtime. `fields`: those of the request, to name the one at fault;
    `names`: what the request calls a field that messages of the runtime call otherwise.

    Of a mistake of our own nothing but that it happened: the log has the rest.
    """
    if isinstance(error, ApiError):
        return error
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            message = _renamed(str(error), names or {})
            if "max_length is" in message:
                code = "context_length_exceeded"  # clients look for this name to shorten what they send
            param = _field(message, fields) if status == 400 else None
            return ApiError(status, message, param=param, code=code, retry=status in (429, 503))
    return ApiError(500, "The server failed; its log has the reason under this request's id.", code="internal")


def _renamed(message: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        message = re.sub(rf"\b{ours}\b", theirs, message)
    return message


def _field(message: str, fields: Collection[str]) -> str | None:
    """The field that a message of ours is about: it names it first; of a sum the last one is what can be changed."""
    message = re.sub(r"^prompt \+ ", "", message)
    return next((word for word in re.findall(r"[a-z_]+", message) if word in fields), None)
