"""When calls are sent. At a rate, arrivals do not wait for answers (an open loop); clients do (a closed loop)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from skywork_rt.bench.serve_sim import Clock
from skywork_rt.bench.serving.calls import Call
from skywork_rt.bench.serving.client import Answer
from skywork_rt.errors import InvalidArgumentError

__all__ = ["Load", "Send", "parse_loads", "run_clients", "run_load", "run_rate"]

Send = Callable[[Call, Clock, float], Awaitable[Answer]]
"""Sends a call that was planned for a moment of the clock."""


@dataclass(frozen=True)
class Load:
    """Either calls a second, or clients of whom each has one call at a time."""

    rate: float | None = None
    clients: int | None = None

    @property
    def name(self) -> str:
        """For rows: `clients_16`, `rate_2.5`, `rate_inf`."""
        return f"clients_{self.clients}" if self.clients is not None else f"rate_{self.rate:g}"

    def __str__(self) -> str:
        if self.clients is not None:
            return f"{self.clients} client{'s' * (self.clients != 1)}"
        return "all at once" if math.isinf(self.rate or 0) else f"{self.rate:g}/s"


def parse_loads(rates: str | None, clients: str | None) -> list[Load]:
    """From `1,2,inf` and `1,4,16`. Raises InvalidArgumentError."""
    loads = [Load(clients=_client_count(part)) for part in _parts(clients)]
    loads += [Load(rate=_rate(part)) for part in _parts(rates)]
    if not loads:
        raise InvalidArgumentError("there is no load to measure: give --clients 1,4,16 or --rates 1,2,inf")
    return list(dict.fromkeys(loads))


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _client_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise InvalidArgumentError(f"--clients: {text!r} is no number from 1 to 100000")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not rate > 0:
        raise InvalidArgumentError(f"--rates: {text!r} is no number of requests a second above 0, nor inf")
    return rate


async def run_load(load: Load, calls: Sequence[Call], send: Send, duration: float | None = None) -> list[Answer]:
    """All calls; with a `duration`, in seconds, no call begins after it."""
    if load.clients is not None:
        return await run_clients(calls, load.clients, send, duration)
    return await run_rate([call for call in calls if duration is None or call.time <= duration], send)


async def run_rate(calls: Sequence[Call], send: Send) -> list[Answer]:
    """Each call at its time. Its latency counts from then, even where the client was late itself."""
    clock = Clock()

    async def serve(call: Call) -> Answer:
        await clock.sleep_until(call.time)
        return await send(call, clock, call.time)

    return list(await asyncio.gather(*(serve(call) for call in calls)))


async def run_clients(
    calls: Sequence[Call],
    clients: int,
    send: Send,
    duration: float | None = None,
    at_end: Callable[[], Awaitable[None]] | None = None,
) -> list[Answer]:
    """So many clients take calls in turn, each the next one as soon as it has its answer.

    With `at_end`, that is awaited after `duration`, and then every client leaves, whatever it waits for: its last call
    is not among the answers.
    """
    clock, answers = Clock(), list[Answer]()
    waiting: Iterator[Call] = iter(calls)

    async def client() -> None:
        for call in waiting:
            if duration is not None and clock.now() >= duration:
                return
            answers.append(await send(call, clock, clock.now()))

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    try:
        if at_end is not None:
            await asyncio.wait(tasks, timeout=duration)
            await at_end()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        else:
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    for task in tasks:
        if not task.cancelled():
            task.result()
    return answers
