"""What the moments of many answers say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from skywork_rt.bench.serving.client import Answer
from skywork_rt.bench.serving.limits import Limits
from skywork_rt.bench.stats import percentile

__all__ = ["PERCENTILES", "Figures", "latencies", "summarise"]

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Figures:
    """One load on one server. Latencies are in milliseconds by percentile, of whole answers alone."""

    requests: int
    done: int
    errors: dict[str, int]
    """How many answers failed, by code: `http 429`, `connection`, `timeout`, `cut`, …"""
    first_error: str
    left: int
    span: float
    """Seconds from the first arrival to the last end."""
    output_tokens: int
    prompt_tokens: int
    tokens_per_second: float
    requests_per_second: float
    goodput: float | None
    """Whole answers within all limits, a second; None without limits."""
    within: float | None
    """The share of all requests that is: failures are outside."""
    counted_by: str
    """`usage` (the server told), `pieces`, or `usage and pieces`."""
    ttft: dict[int, float]
    tpot: dict[int, float]
    itl: dict[int, float]
    """Time between two pieces of a stream; a piece may have several tokens."""
    e2e: dict[int, float]


def latencies(answer: Answer) -> dict[str, float | None]:
    """Seconds: TTFT and TPOT need a stream, TPOT two tokens."""
    first = answer.pieces[0] if answer.pieces else None
    streamed = first is not None and answer.tokens > 1 and len(answer.pieces) > 1
    return {
        "ttft": first - answer.arrival if first is not None else None,
        "tpot": (answer.pieces[-1] - first) / (answer.tokens - 1) if first is not None and streamed else None,
        "e2e": answer.end - answer.arrival,
    }


def summarise(answers: Sequence[Answer], limits: Limits | None = None) -> Figures:
    """Raises ValueError for no answers. Tokens of answers that failed or were left do not count."""
    if not answers:
        raise ValueError("no call was sent")
    whole = [answer for answer in answers if answer.error is None and not answer.left]
    failed = [answer for answer in answers if answer.error is not None]
    span = max(1e-9, max(answer.end for answer in answers) - min(answer.arrival for answer in answers))
    timed = [latencies(answer) for answer in whole]
    good = sum(limits.met_by(measured) for measured in timed) if limits else None
    tokens = sum(answer.tokens for answer in whole)
    return Figures(
        requests=len(answers),
        done=len(whole),
        errors=dict(Counter(answer.error for answer in failed if answer.error)),
        first_error=failed[0].message if failed else "",
        left=sum(answer.left for answer in answers),
        span=span,
        output_tokens=tokens,
        prompt_tokens=sum(answer.prompt_tokens or 0 for answer in whole),
        tokens_per_second=tokens / span,
        requests_per_second=len(whole) / span,
        goodput=None if good is None else good / span,
        within=None if good is None else good / len(answers),
        counted_by=" and ".join(sorted({answer.counted_by for answer in whole}, reverse=True)) or "nothing",
        ttft=_percentiles([measured["ttft"] for measured in timed]),
        tpot=_percentiles([measured["tpot"] for measured in timed]),
        itl=_percentiles([b - a for answer in whole for a, b in zip(answer.pieces, answer.pieces[1:], strict=False)]),
        e2e=_percentiles([measured["e2e"] for measured in timed]),
    )


def _percentiles(seconds: Sequence[float | None]) -> dict[int, float]:
    """Milliseconds; empty when there is nothing to take them of."""
    known = sorted(1e3 * value for value in seconds if value is not None)
    return {percent: percentile(known, percent) for percent in PERCENTILES} if known else {}
