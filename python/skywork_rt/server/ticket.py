"""What is known of one request while it is answered: for its log line, its metrics and its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.requests import Request
from starlette.types import Scope

__all__ = ["Ticket", "ticket_of", "ticket_of_scope"]

_KEY = "skywork_rt.ticket"


@dataclass
class Ticket:
    """One request. Times are of time.monotonic()."""

    id: str
    method: str
    path: str
    begun: float = field(default_factory=time.monotonic)
    status: int | None = None
    """None until the answer has begun."""
    gone: bool = False
    """The client has left."""
    ended: bool = False
    """The server ended the request because it stops."""
    code: str | None = None
    """Of the error that it failed with."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What its log line says beside: model, tokens, times."""
    private: dict[str, Any] = field(default_factory=dict)
    """Prompts and answers: logged only with log_prompts."""

    def attach(self, scope: Scope) -> None:
        scope[_KEY] = self


def ticket_of_scope(scope: Scope) -> Ticket:
    """The ticket that the outermost middleware has attached."""
    return cast(Ticket, scope[_KEY])


def ticket_of(request: Request) -> Ticket:
    return ticket_of_scope(request.scope)
