"""POST /tokenize"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.api.generator import Generator
from skywork_rt.errors import UnsupportedError
from skywork_rt.server.answers import Json
from skywork_rt.server.request import Call, object_of, opened, parsed_as
from skywork_rt.server.schemas.chat import chat_arguments
from skywork_rt.server.schemas.tokenize import TokenizeChatRequest, TokenizeFields, TokenizeTextRequest
from skywork_rt.server.tools.use import tool_use

__all__ = ["tokenize"]


async def tokenize(request: Request) -> Response:
    """The ids of a text or a conversation; nothing is computed."""
    given = await object_of(request)
    schema: type[TokenizeFields] = TokenizeChatRequest if "messages" in given else TokenizeTextRequest
    parsed = parsed_as(request, schema, given)
    async with opened(request, parsed) as call:
        ids = await asyncio.to_thread(_ids, call)
        answer: dict[str, Any] = {"count": len(ids), "max_model_len": call.model.max_length, "tokens": ids}
        answer["token_strs"] = _strings(call.model.generator, ids) if parsed.return_token_strs else None
        return Json(answer)


def _ids(call: Call) -> list[int]:
    request, generator = call.request, call.model.generator
    if isinstance(request, TokenizeTextRequest):
        return generator.encode(
            request.prompt, add_special_tokens=False if request.add_special_tokens is False else None
        )
    turns = call.turns(request.messages, "messages", tool_use(request.tools, None, None))
    return turns.ids(generator, chat_arguments(request))


def _strings(generator: Generator, ids: list[int]) -> list[str]:
    tokenizer = generator.tokenizer
    if tokenizer is None:
        raise UnsupportedError("this bundle has no tokenizer")
    return [tokenizer.token(token) for token in ids]
