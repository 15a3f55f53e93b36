"""POST /v1/completions"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from skywork_rt.api.params import SamplingParams
from skywork_rt.api.prompts import Prompt
from skywork_rt.api.results import CompletionOutput, Piece, RequestOutput
from skywork_rt.server.answers import DONE, EventStream, Json, event
from skywork_rt.server.errors import ApiError
from skywork_rt.server.limits import check_output, check_samples
from skywork_rt.server.request import Call, opened, read
from skywork_rt.server.schemas.completions import CompletionFields, CompletionRequest
from skywork_rt.server.shapes.chunks import Chunks
from skywork_rt.server.shapes.heading import heading
from skywork_rt.server.shapes.logprobs import Shown, completion_logprobs, prompt_logprobs
from skywork_rt.server.shapes.usage import usage, usage_of
from skywork_rt.server.work import Work

__all__ = ["completions"]

_DEFAULT_TOKENS = 16  # OpenAI's
_TYPE, _VALUE = "invalid_type", "invalid_value"


async def completions(request: Request) -> Response:
    """Goes on with texts."""
    parsed = await read(request, CompletionRequest)
    async with AsyncExitStack() as stack:
        call = await stack.enter_async_context(opened(request, parsed))
        answer = await _Answer.prepared(call, parsed)
        stack.push_async_callback(answer.work.stop)
        await answer.work.start()
        if parsed.stream:
            events = answer.events_at_once() if answer.waits else answer.events()
            return EventStream(events, stack.pop_all())
        return Json(await answer.whole())


@dataclass
class _Answer:
    """One request and how its answer is written."""

    call: Call
    request: CompletionFields
    work: Work
    params: SamplingParams
    n: int
    silent: bool
    """max_tokens is 0: the token that the engine makes is not shown."""
    chunks: Chunks
    _lengths: dict[int, int] = field(default_factory=dict)
    """Characters written of each choice, for text_offset."""

    @classmethod
    async def prepared(cls, call: Call, request: CompletionFields) -> _Answer:
        """Checks everything, and tokenises."""
        silent = bool(request.echo) and getattr(request, "max_tokens", None) == 0
        params, n = _params(call, request, silent)
        prompts = [await call.text_prompt(p, "prompt") for p in _prompts(call, request.prompt)]
        chunks = Chunks(heading(call.model, "cmpl", "text_completion"), request.stream_options)
        return cls(call, request, call.work(prompts, params), params, n, silent, chunks)

    @property
    def waits(self) -> bool:
        """Log-probabilities of the prompt come with the end, so an echo of them cannot come before."""
        return self.params.prompt_logprobs is not None

    async def whole(self) -> dict[str, Any]:
        results = await self.work.results()
        choices = [self._choice(i, result) for i, result in enumerate(results)]
        dropped = sum(result.timings.tokens for result in results) if self.silent else 0
        return {
            **self.chunks.heading,
            "choices": [choice for of_prompt in choices for choice in of_prompt],
            "usage": usage_of(results, dropped=dropped),
        }

    async def events_at_once(self) -> AsyncGenerator[bytes, None]:
        """A stream of one event a choice."""
        answer = await self.whole()
        for choice in answer["choices"]:
            yield event({**self.chunks.heading, "choices": [choice]})
        if self.chunks.ends_with_usage:
            yield self.chunks.last(answer["usage"])
        yield DONE

    async def events(self) -> AsyncGenerator[bytes, None]:
        """An event a piece."""
        produced = 0
        begun: set[int] = set()
        async for index, piece in self.work.pieces():
            place = index * self.n + piece.index
            produced += len(piece.token_ids)
            choice = self._piece(place, piece, None if place in begun else self._echo(index))
            begun.add(place)
            yield self.chunks.next(choice, usage(self.work.prompt_tokens, produced))
        results = await self.work.results()
        if self.chunks.ends_with_usage:
            yield self.chunks.last(usage_of(results))
        yield DONE

    def _echo(self, index: int) -> str:
        return self._prompt_text(self.work.prompts[index]) if self.request.echo else ""

    def _prompt_text(self, prompt: Prompt) -> str:
        if prompt.text is not None:
            return prompt.text
        return self.call.model.generator.decode(prompt.ids, skip_special_tokens=self.params.skip_special_tokens)

    def _piece(self, place: int, piece: Piece, echo: str | None) -> dict[str, Any]:
        offset = self._lengths.get(place, len(echo or ""))
        logprobs = None
        if piece.logprobs is not None and self._shown is not None:
            logprobs = completion_logprobs(self.call.model.tokens, piece.logprobs, piece.token_ids, self._shown, offset)
            offset += sum(map(len, logprobs["tokens"]))
        self._lengths[place] = offset
        return {
            "index": place,
            "text": (echo or "") + piece.text,
            "logprobs": logprobs,
            "finish_reason": piece.finish_reason,
        }

    @property
    def _shown(self) -> Shown | None:
        return Shown.of(getattr(self.request, "logprobs", None), self.params)

    def _choice(self, index: int, result: RequestOutput) -> list[dict[str, Any]]:
        outputs: Sequence[CompletionOutput] = result.outputs
        if len(outputs) > self.n:
            outputs = sorted(outputs, key=_mean_logprob, reverse=True)[: self.n]
        echo = self._echo(index)
        return [self._whole_choice(index * self.n + i, output, result, echo) for i, output in enumerate(outputs)]

    def _whole_choice(self, place: int, output: CompletionOutput, result: RequestOutput, echo: str) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": place,
            "text": echo + ("" if self.silent else output.text),
            "logprobs": self._whole_logprobs(output, result, echo),
            "finish_reason": "length" if self.silent else output.finish_reason,
            "stop_reason": None if self.silent else output.stop_reason,
        }
        if "prompt_logprobs" in self.request.model_fields_set and result.prompt_logprobs is not None:
            choice["prompt_logprobs"] = prompt_logprobs(self.call.model.tokens, result.prompt_logprobs)
        return choice

    def _whole_logprobs(self, output: CompletionOutput, result: RequestOutput, echo: str) -> dict[str, Any] | None:
        if self._shown is None or output.logprobs is None:
            return None
        ids, rows = list(output.token_ids), list(output.logprobs)
        if self.silent:
            ids, rows = [], []
        if self.request.echo and result.prompt_logprobs is not None:
            of_prompt = result.prompt_logprobs
            return completion_logprobs(
                self.call.model.tokens, [*of_prompt, *rows], [*result.prompt_token_ids, *ids], self._shown, 0
            )
        return completion_logprobs(self.call.model.tokens, rows, ids, self._shown, len(echo))


def _mean_logprob(output: CompletionOutput) -> float:
    return (output.cumulative_logprob or 0.0) / max(1, len(output.token_ids))


def _prompts(call: Call, given: Any) -> list[Any]:
    """The prompts, each a text or a list of ids; what an item is is checked when it is tokenised."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        raise ApiError(
            400, "prompt must be a text, token ids, or a list of either", param="prompt", code="invalid_type"
        )
    if given and isinstance(given[0], str | list):
        most = call.server.settings.max_prompts
        if len(given) > most:
            raise ApiError(
                400, f"prompt has {len(given)} prompts, but may have {most} here", param="prompt", code=_VALUE
            )
        for index, item in enumerate(given):
            if not isinstance(item, str | list) or (
                isinstance(item, list) and item and isinstance(item[0], str | list)
            ):
                raise ApiError(400, f"prompt[{index}] must be a text or token ids", param="prompt", code=_TYPE)
        return given
    return [given]


def _params(call: Call, request: CompletionFields, silent: bool) -> tuple[SamplingParams, int]:
    """What is sampled, and how many answers of each prompt are shown."""
    asked: int | None = getattr(request, "max_tokens", None)
    most = check_output(_DEFAULT_TOKENS if asked is None else asked, call.server.settings, "max_tokens")
    changes: dict[str, Any] = {"max_tokens": 1 if silent else most}
    n: int = getattr(request, "n", None) or 1
    top: int | None = getattr(request, "logprobs", None)
    if request.best_of is not None:
        _check_best_of(request, n)
        check_samples(request.best_of, call.server.settings, "best_of")
        changes["n"] = request.best_of
        changes["logprobs"] = top if top is not None else 0
    if request.echo and top is not None and getattr(request, "prompt_logprobs", None) is None:
        changes["prompt_logprobs"] = top
    return call.params(**changes), n


def _check_best_of(request: CompletionFields, n: int) -> None:
    best_of = request.best_of or 0
    if best_of < n:
        raise ApiError(
            400, f"best_of is {best_of}, but must be at least n ({n})", param="best_of", code="invalid_value"
        )
    if request.stream and best_of > n:
        raise ApiError(400, "best_of chooses at the end, so it cannot be streamed", param="best_of")
