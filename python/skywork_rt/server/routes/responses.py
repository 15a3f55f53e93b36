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
from skywork_rt.server.tools.answer import calls_of
from skywork_rt.server.tools.use import tool_use
from skywork_rt.server.work import Work

__all__ = ["responses", "stored_response"]


async def responses(request: Request) -> Response:
    """Answers a text or a conversation. Nothing is stored."""
    parsed = await read(request, ResponseRequest)
    async with AsyncExitStack() as stack:
        call = await stack.enter_async_context(opened(request, parsed))
        params = _params(call, parsed)
        calls = calls_of(call, tool_use(parsed.tools, parsed.tool_choice, parsed.parallel_tool_calls))
        if calls is not None:
            params = calls.params(params)
        messages, use = messages_of(parsed), calls.use if calls is not None else None
        prompt = await call.prompt_of_messages(messages, "input", parsed.chat_template_kwargs, use)
        work = call.work([prompt], params)
        shape = ResponseShape(call.model, parsed, params, calls)
        stack.push_async_callback(work.stop)
        await work.start()
        if parsed.stream:
            return EventStream(_events(work, shape), stack.pop_all(), error_event=shape.failed)
        (result,) = await work.results()
        return Json(shape.whole(result))


async def stored_response(request: Request) -> Response:
    """Nothing is stored, so no response is found."""
    name = request.path_params["id"]
    raise ApiError(404, f"There is no response {name!r:.100}: nothing is stored here.", code="not_found")


async def _events(work: Work, shape: ResponseShape) -> AsyncGenerator[bytes, None]:
    for chunk in shape.opening():
        yield chunk
    async for _, piece in work.pieces():
        for chunk in shape.piece(piece):
            yield chunk
    (result,) = await work.results()
    for chunk in shape.closing(result):
        yield chunk


def _params(call: Call, request: ResponseFields) -> SamplingParams:
    fields = {
        "max_output_tokens": request.max_output_tokens,
        "max_tokens": getattr(request, "max_tokens", None),
    }
    return call.params(max_tokens=most_tokens(call, fields), logprobs=request.top)
