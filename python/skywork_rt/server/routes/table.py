"""All routes in one place."""

from __future__ import annotations

from starlette.routing import Route

from skywork_rt.server.routes.completions import completions
from skywork_rt.server.routes.health import health

__all__ = ["OPEN_PATHS", "ROUTES", "WORK_PATHS"]

ROUTES: tuple[Route, ...] = (
    Route("/v1/completions", completions, methods=["POST"]),
    Route("/health", health, methods=["GET"]),
)

WORK_PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/tokenize", "/detokenize")
"""Need a model, and so a place among the requests that run."""

OPEN_PATHS = ("/health",)
"""Need no key."""
