"""Every load on every server, in turns: what the machine does to one it does to the next."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from skywork_rt.bench.process import BenchError
from skywork_rt.bench.runner import Report
from skywork_rt.bench.serving.calls import Call, Lengths, Shape, arrive, make_calls
from skywork_rt.bench.serving.client import Answer, Client
from skywork_rt.bench.serving.figures import Figures, summarise
from skywork_rt.bench.serving.limits import Limits
from skywork_rt.bench.serving.load import Load, run_clients, run_load
from skywork_rt.bench.serving.processes import ServerProcess
from skywork_rt.bench.serving.targets import Target, first_model, wait_until_ready

__all__ = ["Measured", "Plan", "Results", "measure"]

_FEW_WORDS, _MORE_WORDS = 4, 24
"""Prompts from whose lengths it is learned how many tokens a word makes."""
_WARM_UP_TOKENS = 8
_BUSY_CLIENT = 0.8
_ANSWER_SECONDS = 10.0
"""What a server that runs already has to say that it is ready."""
"""A client that used this share of a core may have slowed down what it measured."""


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    targets: Sequence[Target]
    loads: Sequence[Load]
    shape: Shape
    requests: int | None
    """Calls of one load; None: 8 a client, at least 64, or as many as `duration` has room for."""
    duration: float | None
    limits: Limits
    seed: int
    repeats: int
    workload: Sequence[Call] | None = None
    """Calls of a file, instead of made-up ones."""
    model: str | None = None
    key: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    cpus: frozenset[int] | None = None
    client_cpus: frozenset[int] | None = None
    timeout: float = 600.0
    start_timeout: float = 300.0


@dataclass(frozen=True)
class Measured:
    """One load on one server, once."""

    figures: Figures
    client_cpu: float
    """Cores that the client used."""
    server_cpu: float | None = None
    """Processor seconds of a server that was started here."""
    server_rss: int | None = None
    """Its resident bytes at the end of the load."""


@dataclass
class Results:
    """By (label of the server, load), a repeat each."""

    plan: Plan
    models: dict[str, str] = field(default_factory=dict)
    measured: dict[tuple[str, Load], list[Measured]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, label: str, load: Load) -> list[Measured]:
        return self.measured.get((label, load), [])


@dataclass
class _Server:
    target: Target
    process: ServerProcess | None
    client: Client
    tokens_per_word: float = 1.0
    template_tokens: int = 0


async def measure(plan: Plan, report: Report) -> Results:
    """Starts what is to be started, warms every server up, and measures. Raises BenchError."""
    results = Results(plan)
    if plan.client_cpus:
        os.sched_setaffinity(0, plan.client_cpus)
    async with contextlib.AsyncExitStack() as stack:
        servers = [await _open(plan, target, stack, results) for target in plan.targets]
        for server in servers:
            await _warm_up(plan, server)
        total = len(plan.loads) * plan.repeats * len(servers)
        done = 0
        for at, load in enumerate(plan.loads):
            for repeat in range(plan.repeats):
                for server in _in_turn(servers, repeat):
                    report("serving", done, total)
                    seed = plan.seed + 1000 * at + repeat  # prompts that no server's cache has seen
                    found = await _run(plan, server, load, seed, results)
                    results.measured.setdefault((server.target.label, load), []).append(found)
                    done += 1
        report("serving", total, total)
    return results


def _in_turn(servers: Sequence[_Server], repeat: int) -> list[_Server]:
    first = repeat % len(servers)
    return [*servers[first:], *servers[:first]]


async def _open(plan: Plan, target: Target, stack: contextlib.AsyncExitStack, results: Results) -> _Server:
    process = None
    if target.command is not None:
        process = stack.enter_context(ServerProcess(target.label, target.command, plan.cpus))
    alive = process.check_alive if process else None
    async with Client(target.url, "", key=plan.key, timeout=10) as asking:
        if process:
            fix = "--start-timeout gives it longer"
            await wait_until_ready(asking, target.label, plan.start_timeout, alive, fix)
        else:
            await wait_until_ready(asking, target.label, _ANSWER_SECONDS)
        model = plan.model or await first_model(asking, target.label)
    results.models[target.label] = model
    client = Client(target.url, model, extra=plan.extra, key=plan.key, timeout=plan.timeout)
    return _Server(target, process, await stack.enter_async_context(client))


async def _warm_up(plan: Plan, server: _Server) -> None:
    """Learns how many tokens a word makes, and runs as many calls at once as will come. Raises BenchError."""
    if plan.workload is None and plan.shape.vocab_size is None:
        await _learn_words(plan, server)
    width = max([load.clients or 1 for load in plan.loads])
    shape = Shape(Lengths(4, 4), Lengths(_WARM_UP_TOKENS, _WARM_UP_TOKENS), plan.shape.vocab_size, plan.shape.chat)
    await _warm(server, make_calls(shape, width, plan.seed + 987654322), width)


async def _learn_words(plan: Plan, server: _Server) -> None:
    counted = []
    for words in (_FEW_WORDS, _MORE_WORDS):
        shape = Shape(Lengths(words, words), Lengths(1, 1), chat=plan.shape.chat)
        counted.append((await _warm(server, make_calls(shape, 1, plan.seed + 987654321), 1))[0].prompt_tokens)
    few, more = counted
    if few and more and more > few:
        server.tokens_per_word = (more - few) / (_MORE_WORDS - _FEW_WORDS)
        server.template_tokens = max(0, round(few - _FEW_WORDS * server.tokens_per_word))


async def _warm(server: _Server, calls: Sequence[Call], clients: int) -> list[Answer]:
    answers = await run_clients(calls, clients, server.client.call)
    failed = next((answer for answer in answers if answer.error not in (None, "no tokens", "http 429")), None)
    if failed is not None:
        if server.process is not None:
            server.process.check_alive()
        raise BenchError(f"{server.target.label}: the first calls failed ({failed.error}): {failed.message}")
    return answers


def _calls(plan: Plan, server: _Server, load: Load, seed: int) -> list[Call]:
    if plan.workload is not None:
        calls = list(plan.workload)
        timed = any(call.time for call in calls)
        return calls if load.rate is None or timed else arrive(calls, load.rate, seed)
    count = plan.requests or _count(plan, load)
    shape = replace(plan.shape, tokens_per_word=server.tokens_per_word, template_tokens=server.template_tokens)
    calls = make_calls(shape, count, seed)
    return calls if load.rate is None else arrive(calls, load.rate, seed)


def _count(plan: Plan, load: Load) -> int:
    """Enough calls for the duration: at a rate some more than will come, for clients more than they can have."""
    if plan.duration is None:
        return max(64, 8 * (load.clients or 1))
    if load.clients is not None:
        return max(64, int(load.clients * plan.duration * 20))
    rate = load.rate or 1.0
    return 64 if rate == float("inf") else int(rate * plan.duration + 6 * (rate * plan.duration) ** 0.5) + 8


async def _run(plan: Plan, server: _Server, load: Load, seed: int, results: Results) -> Measured:
    calls = _calls(plan, server, load, seed)
    before = server.process.cost() if server.process else None
    start, used = time.perf_counter(), time.process_time()
    answers = await run_load(load, calls, server.client.call, plan.duration)
    seconds, busy = time.perf_counter() - start, time.process_time() - used
    if not answers:
        raise BenchError(f"no call was sent at {load} within {plan.duration:g} s: make --duration longer")
    if busy / seconds > _BUSY_CLIENT:
        results.notes.append(
            f"{server.target.label}, {load}: the client itself used {busy / seconds:.2f} of a core, "
            "so it may have been what was slow"
        )
    after = server.process.cost() if server.process else None
    return Measured(
        summarise(answers, plan.limits or None),
        busy / seconds,
        after.cpu_seconds - before.cpu_seconds if after and before else None,
        after.resident_bytes if after else None,
    )
