"""POST /detokenize"""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.server.answers import Json
from skywork_rt.server.errors import ApiError
from skywork_rt.server.request import opened, read
from skywork_rt.server.schemas.tokenize import DetokenizeRequest

__all__ = ["detokenize"]


async def detokenize(request: Request) -> Response:
    """The text of ids, special tokens too."""
    parsed = await read(request, DetokenizeRequest)
    async with opened(request, parsed) as call:
        try:
            text = await asyncio.to_thread(call.model.generator.decode, parsed.tokens, skip_special_tokens=False)
        except InvalidArgumentError as error:
            raise ApiError(400, str(error), param="tokens") from error
        return Json({"prompt": text})
