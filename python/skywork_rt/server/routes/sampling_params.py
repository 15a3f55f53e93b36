"""GET /sampling_params"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt import _core
from skywork_rt.server.answers import Json
from skywork_rt.support.field_table import field_table

__all__ = ["sampling_params"]


async def sampling_params(request: Request) -> Response:
    """Every sampling parameter that a request may give: its type, default, bounds and what it does. Defaults of one
    model that differ from these are in its entry of /v1/models."""
    del request
    return Json({"object": "list", "data": _rows()})


def _rows() -> list[dict[str, Any]]:
    """SamplingParams' own table, so that a new parameter appears by itself; bounds are the core's."""
    core = {row["name"]: row for row in _core.sampling_fields()}
    return [
        {
            "name": field.name,
            "type": field.annotation,
            "default": field.default,
            "range": core.get(field.name, {}).get("range", ""),
            "minimum": core.get(field.name, {}).get("least"),
            "exclusive": core.get(field.name, {}).get("without_least", False),
            "maximum": core.get(field.name, {}).get("most"),
            "description": field.text,
        }
        for field in field_table("api/params.py", "SamplingParams")
    ]
