"""POST /v1/chat/completions"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.api.params import SamplingParams
from skywork_rt.api.results import CompletionOutput, Piece
from skywork_rt.server.answers import DONE, EventStream, Json
from skywork_rt.server.errors import ApiError
from skywork_rt.server.limits import check_output
from skywork_rt.server.request import Call, opened, read
from skywork_rt.server.schemas.chat import ChatFields, ChatRequest
from skywork_rt.server.shapes.chunks import Chunks
from skywork_rt.server.shapes.heading import heading
from skywork_rt.server.shapes.logprobs import Shown, chat_logprobs, prompt_logprobs
from skywork_rt.server.shapes.usage import usage, usage_of
from skywork_rt.server.tools.answer import Calls, CallStream, calls_of
from skywork_rt.server.tools.use import tool_use
from skywork_rt.server.work import Work

__all__ = ["chat_completions", "most_tokens"]

_MOST_TOP = 20  # OpenAI's; the engine's own bound may be lower


async def chat_completions(request: Request) -> Response:
    """Answers a conversation."""
    parsed = await read(request, ChatRequest)
    async with AsyncExitStack() as stack:
        call = await stack.enter_async_context(opened(request, parsed))
        answer = await _Answer.prepared(call, parsed)
        stack.push_async_callback(answer.work.stop)
        await answer.work.start()
        if parsed.stream:
            return EventStream(answer.events(), stack.pop_all())
        return Json(await answer.whole())


def most_tokens(call: Call, fields: dict[str, int | None]) -> int | None:
    """The most tokens of an answer by the one of several fields that is given; None: as many as there is room for."""
    given = {name: value for name, value in fields.items() if value is not None}
    if len(set(given.values())) > 1:
        said = " and ".join(f"{name} {value}" for name, value in given.items())
        raise ApiError(400, f"{said} contradict each other; give one", param=next(iter(given)), code="invalid_value")
    name, value = next(iter(given.items()), (next(iter(fields)), None))
    if value is not None and value < 1:
        raise ApiError(400, f"{name} is {value}, but must be at least 1", param=name, code="invalid_value")
    return check_output(value, call.server.settings, name)


@dataclass
class _Answer:
    """One request and how its answer is written."""

    call: Call
    request: ChatFields
    work: Work
    shown: Shown | None
    """Tokens whose log-probabilities are shown, if any."""
    chunks: Chunks
    calls: Calls | None
    """How the calls of its answers are read; None without tools."""

    @classmethod
    async def prepared(cls, call: Call, request: ChatFields) -> _Answer:
        """Checks everything, and tokenises."""
        params, shown = _params(call, request)
        calls = calls_of(call, tool_use(request.tools, request.tool_choice, request.parallel_tool_calls))
        if calls is not None:
            params = calls.params(params)
        prompt = await call.chat_prompt(request, calls.use if calls is not None else None)
        kind = "chat.completion.chunk" if request.stream else "chat.completion"
        chunks = Chunks(heading(call.model, "chatcmpl", kind), request.stream_options)
        return cls(call, request, call.work([prompt], params), shown, chunks, calls)

    async def whole(self) -> dict[str, Any]:
        (result,) = await self.work.results()
        answer = {
            **self.chunks.heading,
            "choices": [self._choice(output) for output in result.outputs],
            "usage": usage_of([result]),
        }
        if result.prompt_logprobs is not None:
            answer["prompt_logprobs"] = prompt_logprobs(self.call.model.tokens, result.prompt_logprobs)
        return answer

    async def events(self) -> AsyncGenerator[bytes, None]:
        """For each choice its role, and then an event a piece."""
        produced, prompt = 0, self.work.prompt_tokens
        begun: dict[int, CallStream | None] = {}
        async for _, piece in self.work.pieces():
            if piece.index not in begun:
                begun[piece.index] = self.calls.stream(self.work.params) if self.calls is not None else None
                first = {"role": "assistant", "content": "" if self.calls is None else None}
                yield self.chunks.next(_delta(piece.index, first), usage(prompt, produced))
            produced += len(piece.token_ids)
            for choice in self._pieces(piece, begun[piece.index]):
                yield self.chunks.next(choice, usage(prompt, produced))
        results = await self.work.results()
        if self.chunks.ends_with_usage:
            yield self.chunks.last(usage_of(results))
        yield DONE

    def _pieces(self, piece: Piece, calls: CallStream | None) -> list[dict[str, Any]]:
        """The choices that a piece makes: one, or with tools one for each thing that it tells, and none while what
        may be a call is held back. The first one has its log-probabilities, the last one says how it ended."""
        if calls is None:
            deltas = [{"content": piece.text} if piece.text else {}]
            reason: str | None = piece.finish_reason
        else:
            deltas = calls.deltas(piece.text, piece.finish_reason)
            reason = calls.reason(piece.finish_reason)
        choices = [_delta(piece.index, delta) for delta in deltas]
        choices[-1]["finish_reason"] = reason
        if self.shown is not None and piece.logprobs is not None:
            tokens = self.call.model.tokens
            content = chat_logprobs(tokens, piece.logprobs, piece.token_ids, self.shown)
            choices[0]["logprobs"] = {"content": content, "refusal": None}
        if calls is None:
            return choices
        return [each for each in choices if each["delta"] or each["logprobs"] or each["finish_reason"]]

    def _choice(self, output: CompletionOutput) -> dict[str, Any]:
        logprobs = None
        if self.shown is not None and output.logprobs is not None:
            content = chat_logprobs(self.call.model.tokens, output.logprobs, output.token_ids, self.shown)
            logprobs = {"content": content, "refusal": None}
        message: dict[str, Any] = {"role": "assistant", "content": output.text, "refusal": None}
        reason: str = output.finish_reason
        if self.calls is not None:
            message, reason = self.calls.message(self.work.params, output.text, output.finish_reason)
        return {
            "index": output.index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": reason,
            "stop_reason": output.stop_reason,
        }


def _delta(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def _params(call: Call, request: ChatFields) -> tuple[SamplingParams, Shown | None]:
    """What is sampled, and of which tokens log-probabilities are shown."""
    top = request.top_logprobs or 0
    if request.top_logprobs is not None and not request.logprobs:
        raise ApiError(400, "top_logprobs is for logprobs; set logprobs to true", param="top_logprobs")
    if top > _MOST_TOP:
        raise ApiError(
            400, f"top_logprobs is {top}, but may be at most {_MOST_TOP}", param="top_logprobs", code="invalid_value"
        )
    if request.stream and getattr(request, "prompt_logprobs", None) is not None:
        raise ApiError(400, "prompt_logprobs of a chat cannot be streamed", param="prompt_logprobs")
    fields = {
        "max_completion_tokens": request.max_completion_tokens,
        "max_tokens": getattr(request, "max_tokens", None),
    }
    params = call.params(
        max_tokens=most_tokens(call, fields), logprobs=top if request.logprobs else None, without=("logprobs",)
    )
    return params, Shown.of(top if request.logprobs else None, params)
