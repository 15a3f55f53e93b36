"""GET /health"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.server.answers import Json
from skywork_rt.server.state import server_of

__all__ = ["health"]


async def health(request: Request) -> Response:
    """200 once the first model is warm, and until the server begins to stop; else 503, and why."""
    server = server_of(request)
    if server.draining:
        return Json({"status": "stopping"}, status_code=503)
    if not server.ready:
        return Json({"status": "loading"}, status_code=503)
    return Json({"status": "ok"})
