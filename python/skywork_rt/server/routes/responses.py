"""POST /v1/responses, and what asks for stored ones"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.api.params import SamplingParams
from skywork_rt.server.answers import EventStream, Json
from skywork_rt.server.errors import ApiError
from skywork_rt.server.request import Call, opened, read
from skywork_rt.server.routes.chat_completions import most_tokens
from skywork_rt.server.schemas.responses import ResponseFields, ResponseRequest, messages_of
from skywork_rt.server.shapes.response import ResponseShape
from skywork_rt.server.work import Work

__all__ = ["responses", "stored_response"]


async def responses(request: Request) -> Response:
    """Answers a text or a conversation. Nothing is stored."""
    parsed = await read(request, ResponseRequest)
    async with AsyncExitStack() as stack:
        call = await stack.enter_async_context(opened(request, parsed))
        params = _params(call, parsed)
        messages = messages_of(parsed)
        work = call.work([await call.prompt_of_messages(messages, "input", parsed.chat_template_kwargs)], params)
        shape = ResponseShape(call.model, parsed, params)
        stack.push_async_callback(work.stop)
        await work.start()
        if parsed.stream:
            return EventStream(_events(work, shape), stack.pop_all(), error_event=shape.failed)
        (result,) = await work.results()
        return Json(shape.finished(result))


async def stored_response(request: Request) -> Response:
    """Nothing is stored, so no response is found."""
    name = request.path_params["id"]
    raise ApiError(404, f"There is no response {name!r:.100}: nothing is stored here.", code="not_found")


async def _events(work: Work, shape: ResponseShape) -> AsyncGenerator[bytes, None]:
    for chunk in shape.opening():
        yield chunk
    async for _, piece in work.pieces():
        if piece.text or piece.logprobs:
            yield shape.delta(piece)
    (result,) = await work.results()
    for chunk in shape.closing(result):
        yield chunk


def _params(call: Call, request: ResponseFields) -> SamplingParams:
    fields = {
        "max_output_tokens": request.max_output_tokens,
        "max_tokens": getattr(request, "max_tokens", None),
    }
    return call.params(max_tokens=most_tokens(call, fields), logprobs=request.top)
