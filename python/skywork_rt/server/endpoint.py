"""One route, and what its description says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.server.schemas.base import Schema

__all__ = ["Endpoint"]

REFUSALS = (400, 404, 408, 413, 429, 503, 504)
"""What a request to a model may be answered beside 200."""


@dataclass(frozen=True)
class Endpoint:
    """A method of a path."""

    path: str
    method: str
    handler: Callable[[Request], Awaitable[Response]]
    body: tuple[type[Schema], ...] = ()
    """What its body may be."""
    answers: tuple[str, ...] = ("application/json",)
    """Types of its content when all is well."""
    refusals: tuple[int, ...] = ()
    """Statuses of its errors, beside those of keys and of our own mistakes."""
    works: bool = False
    """Whether it takes one of the places of requests to models."""
    never: bool = False
    """Whether it always refuses."""
    open: bool = False
    """Whether it needs no key."""

    @property
    def shown(self) -> str:
        """The path as OpenAPI writes it: it does not tell parts that may have slashes."""
        return self.path.replace(":path}", "}")
