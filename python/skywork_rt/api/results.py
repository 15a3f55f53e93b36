"""What a request gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from skywork_rt import _core
from skywork_rt.api.params import SamplingParams

__all__ = ["CompletionOutput", "FinishReason", "Logprob", "Piece", "RequestOutput", "Score", "Timings"]

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Logprob:
    """Natural logarithm of a token's probability before any sampling parameter acted, and its rank (1: the best)."""

    logprob: float
    rank: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds by a monotonic clock, from submission."""

    queued: float
    """Until the first step."""
    ttft: float
    """Until the first token."""
    total: float
    tokens: int
    """Produced by all samples together."""

    @property
    def tpot(self) -> float | None:
        """Seconds a token after the first; None when there was one token only."""
        return (self.total - self.ttft) / (self.tokens - 1) if self.tokens > 1 else None

    @property
    def tokens_per_second(self) -> float:
        """Produced tokens over the whole time, queueing and prefill included."""
        return self.tokens / self.total if self.total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class CompletionOutput:
    """One finished sample."""

    index: int
    text: str
    """Empty when the bundle has no vocabulary."""
    token_ids: list[int]
    """The ending eos included."""
    finish_reason: FinishReason
    stop_reason: str | int | None
    """The stop text or the id that ended it; None when it ended by length."""
    logprobs: list[dict[int, Logprob]] | None
    """For each token, the chosen id first, then the best ones, then those that logprob_token_ids names; None
    unless asked for."""
    cumulative_logprob: float | None
    """Sum over token_ids, for a beam its score before the length penalty; None unless one of them was asked for."""


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """One finished prompt. `text`, `token_ids` and so on are those of the first (for beams: the best) sample."""

    prompt: str | None
    """As it was given; None for a prompt of ids."""
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    """None for the first token, then the token itself first, then the best ones; None unless asked for."""
    seed: int
    """What was used: give it again for the same samples."""
    num_cached_tokens: int
    """Prompt tokens whose prefill was skipped because an earlier prompt began alike."""
    timings: Timings

    @property
    def text(self) -> str:
        return self.outputs[0].text

    @property
    def token_ids(self) -> list[int]:
        return self.outputs[0].token_ids

    @property
    def finish_reason(self) -> FinishReason:
        return self.outputs[0].finish_reason

    @property
    def stop_reason(self) -> str | int | None:
        return self.outputs[0].stop_reason

    @property
    def logprobs(self) -> list[dict[int, Logprob]] | None:
        return self.outputs[0].logprobs


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step added to a stream. `str(piece)` is its text."""

    text: str
    """Whole characters that became certain; may be empty."""
    token_ids: list[int]
    index: int
    """Of the sample, 0 <= index < n."""
    finish_reason: FinishReason | None
    logprobs: list[dict[int, Logprob]] | None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a continuation is after its prompt."""

    logprob: float
    """Sum over the continuation's tokens, natural logarithm."""
    is_greedy: bool
    """Whether greedy decoding would have produced exactly this."""
    token_ids: list[int]
    token_logprobs: list[float]


def logprob_dicts(rows: Sequence[Sequence[_core.TokenLogprob]]) -> list[dict[int, Logprob]]:
    """The core's lists as dicts; the chosen token comes first and is not repeated among the best."""
    return [{entry.token: Logprob(entry.logprob, entry.rank) for entry in without_repeat(row)} for row in rows]


def without_repeat(row: Sequence[_core.TokenLogprob]) -> list[_core.TokenLogprob]:
    """`row` without a second entry of its first token."""
    return [entry for i, entry in enumerate(row) if i == 0 or entry.token != row[0].token]


def to_request_output(
    result: _core.Result, prompt: str | None, ids: NDArray[np.int64], params: SamplingParams
) -> RequestOutput:
    """Builds what the caller sees."""
    outputs = [_completion(i, sample, params) for i, sample in enumerate(result.samples)]
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None
    if params.prompt_logprobs is not None:
        prompt_logprobs = [None, *logprob_dicts(result.prompt_logprobs[1:])]
    timings = result.timings
    tokens = sum(len(output.token_ids) for output in outputs)
    return RequestOutput(
        prompt=prompt,
        prompt_token_ids=ids.tolist(),
        outputs=outputs,
        prompt_logprobs=prompt_logprobs,
        seed=result.seed,
        num_cached_tokens=result.cached_prompt_tokens,
        timings=Timings(timings.queued, timings.first_token, timings.total, tokens),
    )


def _completion(index: int, sample: _core.Sample, params: SamplingParams) -> CompletionOutput:
    reason = sample.finish_reason
    wants_logprobs = params.reports_logprobs
    assert reason is not None, "a sample of a finished request has a finish reason"
    return CompletionOutput(
        index=index,
        text=sample.text,
        token_ids=sample.token_ids,
        finish_reason=reason,
        stop_reason=sample.stop_reason,
        logprobs=logprob_dicts(sample.logprobs) if wants_logprobs else None,
        cumulative_logprob=sample.cumulative_logprob if wants_logprobs or params.num_beams > 1 else None,
    )
