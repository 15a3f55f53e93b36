"""GET /version"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

import skywork_rt
from skywork_rt.server.answers import Json

__all__ = ["version"]


async def version(request: Request) -> Response:
    """The version of the runtime."""
    del request
    return Json({"version": skywork_rt.__version__})
