"""The engine alone under the clients of `mixed.py`: a process of its own, `python -m skywork_rt.bench.serving.alone`.

Reads a plan as JSON from stdin, and writes the tokens/s as JSON to stdout.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import skywork_rt
from skywork_rt.bench.serve_sim import Clock
from skywork_rt.bench.serving.calls import Call
from skywork_rt.bench.serving.client import Answer
from skywork_rt.bench.serving.load import run_clients
from skywork_rt.bench.serving.mixed import ENGINE_THREAD, MixedPlan, count_of_calls, mixed_calls
from skywork_rt.bench.serving.processes import pin_threads

__all__: list[str] = []


async def _run(plan: MixedPlan) -> float:
    os.sched_setaffinity(0, {plan.other_cpu})
    async with skywork_rt.AsyncGenerator(
        plan.bundle,
        threads=1,
        backend=plan.backend,
        max_batch=plan.max_batch,
        max_queue=2 * plan.clients,
        max_cached_tokens=plan.cached_tokens,
    ) as generator:
        pin_threads(os.getpid(), [ENGINE_THREAD], {plan.engine_cpu}, {plan.other_cpu})
        calls = mixed_calls(plan, count_of_calls(plan), generator.generator.model.vocab_size)

        async def send(call: Call, clock: Clock, arrival: float) -> Answer:
            return await _answer(generator, call, clock, arrival)

        start, seconds, tokens = time.perf_counter(), 0.0, 0

        async def at_end() -> None:
            nonlocal seconds, tokens
            seconds, tokens = time.perf_counter() - start, generator.stats()["generated_tokens"]

        await run_clients(calls, plan.clients, send, plan.seconds, at_end)
        return tokens / seconds


async def _answer(generator: skywork_rt.AsyncGenerator, call: Call, clock: Clock, arrival: float) -> Answer:
    answer = Answer(arrival, clock.now())
    params = skywork_rt.SamplingParams(temperature=0.0, max_tokens=call.new_tokens, ignore_eos=True)
    prompt: Any = list(call.prompt)
    if not call.stream:
        answer.tokens = len((await generator.generate(prompt, params)).token_ids)
    else:
        async with generator.stream(prompt, params) as stream:
            async for piece in stream:
                answer.pieces.append(clock.now())
                answer.tokens += len(piece.token_ids)
                if call.leave_after is not None and len(answer.pieces) >= call.leave_after:
                    break
    answer.end = clock.now()
    return answer


if __name__ == "__main__":
    print(json.dumps({"tokens_per_second": asyncio.run(_run(MixedPlan.from_json(json.load(sys.stdin))))}))
