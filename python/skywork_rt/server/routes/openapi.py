"""GET /openapi.json"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.server.answers import Json

__all__ = ["openapi"]


async def openapi(request: Request) -> Response:
    """This description."""
    return Json(request.app.state.description)
