"""GET /metrics"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.server.state import server_of

__all__ = ["metrics"]


async def metrics(request: Request) -> Response:
    """Prometheus's page."""
    body, kind = server_of(request).metrics.render(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": kind})
