"""A service in small: many requests of very different lengths, served continuously or in static batches.

All run on one generator with the same number of slots. *Continuous* submits each request as it arrives. *Static*
collects what has arrived, up to the number of slots, and takes the next batch when all of the last one are done. As in
`generate` of transformers, and of the recipe that we replace, every row of a batch is computed until its longest is
done, and then all are answered. *Shrinking* static batches are kinder than those: rows leave as they end, only their
slots stay empty.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from skywork_rt.bench.stats import percentile

__all__ = [
    "Arrival",
    "Clock",
    "Served",
    "Server",
    "Summary",
    "at_once",
    "poisson",
    "run_continuous",
    "run_static",
    "summarise",
]

SHORTEST, LONGEST = 16, 512
"""Tokens of an answer; lengths are log-uniform in between."""


@dataclass(frozen=True)
class Arrival:
    """One request, and when it comes: seconds from the start."""

    time: float
    prompt: tuple[int, ...]
    new_tokens: int


@dataclass(frozen=True)
class Served:
    """One answer: seconds from the start of the simulation, waiting outside of the engine included."""

    arrival: float
    first_token: float
    end: float
    tokens: int


@dataclass(frozen=True)
class Summary:
    """Throughput in tokens/s from the first arrival to the last end; latencies in milliseconds."""

    throughput: float
    ttft_p50: float
    ttft_p99: float
    tpot_p50: float
    tpot_p99: float


class Server(Protocol):
    """Whatever answers a request: returns (seconds to the first token, seconds to the last) from the call on."""

    def __call__(self, arrival: Arrival) -> Awaitable[tuple[float, float]]: ...


def at_once(count: int, prompt_tokens: int, vocab_size: int, seed: int) -> list[Arrival]:
    """`count` requests at time 0; prompts and log-uniform answer lengths from a fixed seed."""
    generator = np.random.default_rng(seed)
    lengths = np.exp(generator.uniform(np.log(SHORTEST), np.log(LONGEST + 1), count)).astype(int)
    prompts = generator.integers(0, vocab_size, (count, prompt_tokens))
    return [
        Arrival(0.0, tuple(prompt.tolist()), min(LONGEST, int(length)))
        for prompt, length in zip(prompts, lengths, strict=True)
    ]


def poisson(requests: Sequence[Arrival], rate: float, seed: int) -> list[Arrival]:
    """The same requests, arriving as a Poisson stream of `rate` requests a second."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, len(requests))
    return [Arrival(float(t), r.prompt, r.new_tokens) for t, r in zip(np.cumsum(gaps), requests, strict=True)]


async def run_continuous(arrivals: Sequence[Arrival], server: Server) -> list[Served]:
    """Every request goes to the server when it arrives."""
    clock = Clock()

    async def serve(arrival: Arrival) -> Served:
        await clock.sleep_until(arrival.time)
        return await _serve(clock, arrival, server)

    return list(await asyncio.gather(*(serve(arrival) for arrival in arrivals)))


async def run_static(
    arrivals: Sequence[Arrival], server: Server, slots: int, *, shrinking: bool = False
) -> list[Served]:
    """Batches of what has arrived, at most `slots`, one batch after the other; `shrinking`: see the module's text."""
    clock = Clock()
    waiting = sorted(arrivals, key=lambda arrival: arrival.time)
    served: list[Served] = []
    while waiting:
        await clock.sleep_until(waiting[0].time)
        now = clock.now()
        batch = [arrival for arrival in waiting[:slots] if arrival.time <= now]
        waiting = waiting[len(batch) :]
        served += await (_serve_batch(clock, batch, server) if shrinking else _serve_padded(clock, batch, server))
    return served


def summarise(served: Sequence[Served]) -> Summary:
    """Raises ValueError for no requests."""
    if not served:
        raise ValueError("nothing was served")
    span = max(answer.end for answer in served) - min(answer.arrival for answer in served)
    ttft = [1e3 * (answer.first_token - answer.arrival) for answer in served]
    tpot = [1e3 * (a.end - a.first_token) / (a.tokens - 1) for a in served if a.tokens > 1]
    return Summary(
        throughput=sum(answer.tokens for answer in served) / span,
        ttft_p50=percentile(ttft, 50),
        ttft_p99=percentile(ttft, 99),
        tpot_p50=percentile(tpot, 50),
        tpot_p99=percentile(tpot, 99),
    )


class Clock:
    """Seconds since it was made."""

    def __init__(self, read: Callable[[], float] = time.perf_counter) -> None:
        self._read = read
        self._start = read()

    def now(self) -> float:
        return self._read() - self._start

    async def sleep_until(self, moment: float) -> None:
        while (left := moment - self.now()) > 0:
            await asyncio.sleep(left)


async def _serve(clock: Clock, arrival: Arrival, server: Server) -> Served:
    submitted = clock.now()
    first, total = await server(arrival)
    return Served(arrival.time, submitted + first, submitted + total, arrival.new_tokens)


async def _serve_batch(clock: Clock, batch: Sequence[Arrival], server: Server) -> list[Served]:
    return list(await asyncio.gather(*(_serve(clock, arrival, server) for arrival in batch)))


async def _serve_padded(clock: Clock, batch: Sequence[Arrival], server: Server) -> list[Served]:
    longest = max(arrival.new_tokens for arrival in batch)
    computed = await _serve_batch(clock, [replace(arrival, new_tokens=longest) for arrival in batch], server)
    end = max(answer.end for answer in computed)
    return [
        replace(answer, end=end, tokens=arrival.new_tokens) for answer, arrival in zip(computed, batch, strict=True)
    ]
