"""GET /v1/models and /v1/models/{id}"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.server.answers import Json
from skywork_rt.server.models import Model
from skywork_rt.server.state import server_of

__all__ = ["model", "models"]


async def models(request: Request) -> Response:
    """The models that requests may name."""
    return Json({"object": "list", "data": [_card(model) for model in server_of(request).models]})


async def model(request: Request) -> Response:
    """One of them, whose name may have slashes."""
    return Json(_card(server_of(request).models.named(request.path_params["id"])))


def _card(model: Model) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "skywork-rt",
        "root": model.name,
        "parent": None,
        "max_model_len": model.max_length,
        "default_sampling_params": model.defaults,
        "loaded": model.is_open,
    }
