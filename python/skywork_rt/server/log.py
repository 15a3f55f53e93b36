"""The log: one JSON object a line, written by a thread of its own so that a slow reader holds nobody up."""

from __future__ import annotations

import datetime
import json
import logging
import logging.handlers
import queue
from typing import Any, TextIO

from starlette.types import Scope

from skywork_rt.errors import SkyworkError
from skywork_rt.server.errors import ApiError
from skywork_rt.server.ticket import Ticket, ticket_of_scope

__all__ = ["JsonLines", "log_event", "log_request", "note_failure", "start_logging"]

_LOGGER = logging.getLogger("skywork_rt.server")
_MOST_WAITING = 10_000


class JsonLines(logging.Formatter):
    """A record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.name != _LOGGER.name:
            line["logger"] = record.name
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _Patient(logging.handlers.QueueHandler):
    """Drops lines rather than waiting where whoever reads the log has stopped reading."""

    def handleError(self, record: logging.LogRecord) -> None:
        del record

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # it is formatted by the thread; there is no other process


def start_logging(stream: TextIO) -> logging.handlers.QueueListener:
    """Sends this process's log to `stream` as JSON lines, until the listener is stopped."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_MOST_WAITING)
    writer = logging.StreamHandler(stream)
    writer.setFormatter(JsonLines())
    listener = logging.handlers.QueueListener(lines, writer)
    root = logging.getLogger()
    root.handlers = [_Patient(lines)]
    _LOGGER.setLevel(logging.INFO)
    listener.start()
    return listener


def log_event(what: str, **facts: Any) -> None:
    """One line about the server itself."""
    _LOGGER.info(what, extra={"facts": facts})


def log_request(ticket: Ticket, seconds: float, with_prompts: bool) -> None:
    """The line of a request that is over."""
    facts: dict[str, Any] = {
        "request_id": ticket.id,
        "method": ticket.method,
        "path": ticket.path,
        "status": 499 if ticket.gone else ticket.status,
        "seconds": round(seconds, 6),
        **ticket.facts,
    }
    if ticket.code:
        facts["error"] = ticket.code
    if with_prompts:
        facts.update(ticket.private)
    _LOGGER.info("request", extra={"facts": facts})


def note_failure(scope: Scope, error: BaseException) -> None:
    """Writes down what a client is not told: where a mistake of our own, or a backend's, came from."""
    if isinstance(error, ApiError) and error.status < 500:
        return
    known = isinstance(error, SkyworkError | ApiError)
    facts = {"request_id": ticket_of_scope(scope).id, "reason": str(error) if known else repr(error)}
    _LOGGER.error("failure", exc_info=None if known else error, extra={"facts": facts})
