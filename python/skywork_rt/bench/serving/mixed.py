"""Hundreds of clients of all kinds on one server, beside the same clients on the engine alone.

The engine has a core for itself, in the server and alone; the event loop and, with a server, HTTP and the clients share
the other one. What the server loses to the engine alone is thus what HTTP, JSON and its event loop cost the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skywork_rt.bench.process import BenchError
from skywork_rt.bench.runner import Report
from skywork_rt.bench.serving.calls import Call, Lengths, Shape, make_calls
from skywork_rt.bench.serving.client import Client
from skywork_rt.bench.serving.figures import Figures, summarise
from skywork_rt.bench.serving.load import run_clients
from skywork_rt.bench.serving.processes import Cost, ServerProcess, pin_threads, thread_seconds
from skywork_rt.bench.serving.targets import first_model, free_port, wait_until_ready

__all__ = ["ENGINE_THREAD", "MixedPlan", "Outcome", "measure", "mixed_calls"]

ENGINE_THREAD = "skywork_rt"
_WHOLE, _LEAVING = 0.4, 0.1
"""Shares of the calls without a stream, and of those whose client leaves midway."""
_LENGTHS = Lengths(16, 256)
_METRICS = "skywork_rt_"
_LEAVING_PIECES = 4
"""They leave after one piece to so many; under load a piece has several tokens."""
_SAMPLE_SECONDS = 0.5
_IDLE_SECONDS = 30.0
_WARM = 1 / 3
"""Memory is compared from this part of the load on: by then every buffer has had its size."""


@dataclass(frozen=True)
class MixedPlan:
    """What to run. Lengths in tokens, `seconds` each for the engine and for the server."""

    bundle: Path
    clients: int = 500
    seconds: float = 120.0
    max_batch: int = 64
    backend: str = "auto"
    prompt_tokens: Lengths = _LENGTHS
    output_tokens: Lengths = _LENGTHS
    engine_cpu: int = 0
    other_cpu: int = 1
    seed: int = 0
    serve_options: str = ""
    """More options of `skywork-rt serve`."""

    @property
    def cached_tokens(self) -> int:
        """The engine's cache: room for all that run, and for as many kept prefixes; memory is flat once it is full."""
        return 2 * self.max_batch * (self.prompt_tokens.most + self.output_tokens.most)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"bundle": str(self.bundle)}

    @classmethod
    def from_json(cls, loaded: dict[str, Any]) -> MixedPlan:
        lengths = {name: Lengths(**loaded[name]) for name in ("prompt_tokens", "output_tokens")}
        return cls(**{**loaded, **lengths, "bundle": Path(loaded["bundle"])})


@dataclass(frozen=True)
class Outcome:
    """What was seen. Memory in bytes."""

    alone: float
    """Generated tokens/s of the engine alone, by its own count, while all clients were there."""
    served: float
    """The same in the server."""
    figures: Figures
    loop_ms_per_token: float
    """Processor time of the server beside its engine's thread."""
    engine_ms_per_token: float
    client_ms_per_token: float
    rss_warm: int
    rss_end: int
    idle_after: float
    """Seconds until the engine had nothing to do, after all clients had left at once."""

    @property
    def ratio(self) -> float:
        return self.served / self.alone


def mixed_calls(plan: MixedPlan, count: int, vocab_size: int) -> list[Call]:
    """Long and short, with and without a stream, and some whose client leaves."""
    generator = np.random.default_rng(plan.seed + 1)
    calls = make_calls(Shape(plan.prompt_tokens, plan.output_tokens, vocab_size), count, plan.seed)
    kinds, parts = generator.random(count), generator.random(count)
    mixed = []
    for call, kind, part in zip(calls, kinds.tolist(), parts.tolist(), strict=True):
        if kind < _WHOLE:
            mixed.append(replace(call, stream=False))
        elif kind < _WHOLE + _LEAVING:
            mixed.append(replace(call, leave_after=1 + int(part * _LEAVING_PIECES)))
        else:
            mixed.append(call)
    return mixed


def count_of_calls(plan: MixedPlan) -> int:
    """More than the clients can have in the time."""
    return int(plan.clients * 4 + plan.seconds * 200)


async def measure(plan: MixedPlan, report: Report) -> Outcome:
    """The engine alone, then the server. Raises BenchError."""
    report("load", 0, 2)
    alone = await _alone(plan)
    report("load", 1, 2)
    outcome = await _served(plan, alone)
    report("load", 2, 2)
    return outcome


async def _alone(plan: MixedPlan) -> float:
    import json

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "skywork_rt.bench.serving.alone",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, words = await process.communicate(json.dumps(plan.to_json()).encode())
    if process.returncode:
        raise BenchError(f"the engine alone: {words.decode(errors='replace')[-2000:]}")
    return float(json.loads(told)["tokens_per_second"])


async def _served(plan: MixedPlan, alone: float) -> Outcome:
    from skywork_rt.bundle.info import BundleInfo

    port = free_port()
    command = (
        f"{shlex.quote(sys.executable)} -m skywork_rt serve {shlex.quote(str(plan.bundle))} --port {port} --threads 1 "
        f"--backend {plan.backend} --max-batch {plan.max_batch} --max-queue {2 * plan.clients} "
        f"--max-cached-tokens {plan.cached_tokens} --max-requests {plan.clients * 2} {plan.serve_options}"
    )
    vocab = int(BundleInfo.open(plan.bundle).section("model")["vocab_size"])
    calls = mixed_calls(plan, count_of_calls(plan), vocab)
    own = os.sched_getaffinity(0)
    url = f"http://127.0.0.1:{port}"
    with ServerProcess("skywork-rt serve", command, {plan.other_cpu}) as server:
        async with Client(url, "", timeout=10) as asking:
            await wait_until_ready(asking, "skywork-rt serve", 300, server.check_alive)
            model = await first_model(asking, "skywork-rt serve")
        if not pin_threads(server.pid, [ENGINE_THREAD], {plan.engine_cpu}, {plan.other_cpu}):
            raise BenchError(f"the server has no thread {ENGINE_THREAD!r} that could be pinned")
        os.sched_setaffinity(0, {plan.other_cpu})
        try:
            async with Client(url, model, extra={"ignore_eos": True}, timeout=600) as client:
                return await _load(plan, server, client, calls, alone)
        finally:
            os.sched_setaffinity(0, own)


@dataclass
class _Moment:
    """What had been used and done at one moment."""

    time: float
    tokens: int
    server: Cost
    engine_seconds: float
    client_seconds: float

    @classmethod
    async def now(cls, server: ServerProcess, client: Client) -> _Moment:
        own = os.times()
        tokens = await _metric(client, "generation_tokens_total")
        engine = thread_seconds(server.pid, ENGINE_THREAD)
        return cls(time.perf_counter(), int(tokens), server.cost(), engine, own.user + own.system)


async def _load(plan: MixedPlan, server: ServerProcess, client: Client, calls: Sequence[Call], alone: float) -> Outcome:
    samples: list[int] = []
    sampling = asyncio.create_task(_sample(server, samples))
    before = await _Moment.now(server, client)
    after = before

    async def at_end() -> None:
        nonlocal after
        after = await _Moment.now(server, client)

    answers = await run_clients(calls, plan.clients, client.call, plan.seconds, at_end)
    idle_after = await _idle(client)
    sampling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sampling
    server.check_alive()
    if not answers:
        raise BenchError(f"no call ended within {plan.seconds:g} s: make --duration longer or --output-tokens shorter")
    tokens = max(1, after.tokens - before.tokens)
    engine = after.engine_seconds - before.engine_seconds
    return Outcome(
        alone=alone,
        served=tokens / (after.time - before.time),
        figures=summarise(answers),
        loop_ms_per_token=1e3 * (after.server.cpu_seconds - before.server.cpu_seconds - engine) / tokens,
        engine_ms_per_token=1e3 * engine / tokens,
        client_ms_per_token=1e3 * (after.client_seconds - before.client_seconds) / tokens,
        rss_warm=samples[int(len(samples) * _WARM)] if samples else after.server.resident_bytes,
        rss_end=after.server.resident_bytes,
        idle_after=idle_after,
    )


async def _metric(client: Client, name: str) -> float:
    """The sum of a metric's samples over the models. Raises BenchError where the server has no such metric."""
    text = str(await client.get("/metrics"))
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{_METRICS}{name}{{")]
    if not values:
        raise BenchError(f"the server's /metrics has no {_METRICS}{name}")
    return sum(map(float, values))


async def _idle(client: Client) -> float:
    """Seconds until nothing runs or waits. Raises BenchError."""
    start = time.perf_counter()
    while await _metric(client, "num_requests_running") + await _metric(client, "num_requests_waiting"):
        if time.perf_counter() - start > _IDLE_SECONDS:
            raise BenchError(f"requests still run {_IDLE_SECONDS:g} s after all clients left")
        await asyncio.sleep(0.05)
    return time.perf_counter() - start


async def _sample(server: ServerProcess, samples: list[int]) -> None:
    while True:
        samples.append(server.cost().resident_bytes)
        await asyncio.sleep(_SAMPLE_SECONDS)


def markdown(plan: MixedPlan, outcome: Outcome) -> str:
    """A line a figure."""
    from skywork_rt.bench.markdown import table

    figures = outcome.figures
    errors = ", ".join(f"{count} x {code}" for code, count in figures.errors.items()) or "none"
    lines = [
        ("tokens/s of the engine alone", f"{outcome.alone:.0f}"),
        ("tokens/s through the server", f"{outcome.served:.0f} ({outcome.ratio:.2f}x)"),
        ("requests done / left by their client", f"{figures.done} / {figures.left}"),
        ("errors", errors),
        ("TTFT p50 / p90 / p99 ms", " / ".join(f"{figures.ttft.get(p, 0):.0f}" for p in (50, 90, 99))),
        ("TPOT p50 / p99 ms", " / ".join(f"{figures.tpot.get(p, 0):.1f}" for p in (50, 99))),
        ("server's processor time a token, engine's thread", f"{outcome.engine_ms_per_token:.3f} ms"),
        ("server's processor time a token, all else", f"{outcome.loop_ms_per_token:.3f} ms"),
        ("clients' processor time a token", f"{outcome.client_ms_per_token:.3f} ms"),
        (
            "server's memory after a third / at the end",
            f"{outcome.rss_warm / 1e6:.0f} / {outcome.rss_end / 1e6:.0f} MB",
        ),
        ("seconds until idle, after all clients left at once", f"{outcome.idle_after:.2f}"),
    ]
    if figures.first_error:
        lines.append(("the first error", figures.first_error[:200]))
    asked = (
        f"{plan.clients} clients for {plan.seconds:g} s, prompts of {plan.prompt_tokens} and answers of "
        f"{plan.output_tokens} tokens, at most {plan.max_batch} at once in the engine"
    )
    return f"{asked}\n\n{table(('', 'measured'), lines, (1,))}"
