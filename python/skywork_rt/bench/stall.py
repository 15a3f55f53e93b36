"""How long a running stream waits while a long prompt comes in, how fast that prompt is read, and how soon who gives up
is heard.

In each repeat, on one generator: the prompt alone; a stream of tokens, into which another prompt of that length comes;
a third prompt that is cancelled while it is read, and a fourth whose deadline passes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import skywork_rt
from skywork_rt.bench.markdown import machine_line, rows_table
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.stats import summarise
from skywork_rt.bench.subjects import Subject
from skywork_rt.bench.workloads import Workload, random_prompts
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.errors import CancelledError, DeadlineExceededError

__all__ = ["Stall", "StallPlan", "Stalls", "gaps_within", "markdown", "run"]

_BEFORE = 12
"""Tokens of the stream before the prompt comes."""
_STREAM_TOKENS = 4096
_HALFWAY = 0.4
"""Of the time that the prompt takes alone: then it is cancelled, or its deadline passes."""
_UNITS = {"prompt_alone": "tokens/s", "prompt_beside": "tokens/s", "prompt_share": "%"}


@dataclass(frozen=True)
class StallPlan:
    """What to measure."""

    bundle: Path
    subject: Subject
    prompt_tokens: int
    stretches: Sequence[float]
    """Values of prefill_stretch, each on a generator of its own."""
    repeats: int
    threads: int


@dataclass(frozen=True)
class Stall:
    """One repeat; times are in milliseconds, speeds in tokens/s, the share is in percent."""

    prompt_alone: float
    prompt_beside: float
    prompt_share: float
    """Of the prompt's speed alone."""
    decode: float
    """Mean time between two tokens of the stream before the prompt came."""
    median_gap: float
    """Between two tokens of the stream while the prompt was read."""
    longest_gap: float
    cancel: float
    """From cancelling a prompt that is being read to hearing of its end."""
    deadline: float
    """From a deadline to hearing of it."""


@dataclass
class Stalls:
    """What was measured, by stretch, one a repeat."""

    by_stretch: dict[float, list[Stall]] = field(default_factory=dict)

    def rows(self, subject: Subject) -> list[Row]:
        return [
            make_row(
                f"{subject.runtime} stretch {stretch:g}",
                subject.weights,
                subject.bits_per_weight,
                f"stall_{measured.name}",
                _UNITS.get(measured.name, "ms"),
                [getattr(stall, measured.name) for stall in stalls],
            )
            for stretch, stalls in self.by_stretch.items()
            for measured in fields(Stall)
        ]


def run(plan: StallPlan, report: Callable[[str, int, int], None]) -> Stalls:
    """All stretches, one after the other."""
    stalls = Stalls()
    total = len(plan.stretches) * plan.repeats
    for index, stretch in enumerate(plan.stretches):
        options: dict[str, Any] = dict(plan.subject.options)
        with skywork_rt.Generator(
            plan.bundle,
            **options,
            threads=plan.threads,
            max_batch=2,
            max_length=min(_model_length(plan.bundle), plan.prompt_tokens + _STREAM_TOKENS),
            prefill_stretch=stretch,
            prefix_cache=False,
        ) as generator:
            _first_tokens(generator, plan.prompt_tokens)
            for repeat in range(plan.repeats):
                report("prompts into a stream", index * plan.repeats + repeat, total)
                stalls.by_stretch.setdefault(stretch, []).append(_measure(generator, plan.prompt_tokens, repeat))
    report("prompts into a stream", total, total)
    return stalls


def _model_length(bundle: Path) -> int:
    return int(BundleInfo.open(bundle).section("model")["max_length"])


def gaps_within(times: Sequence[float], start: float, end: float) -> list[float]:
    """The gaps between neighbours in `times` that overlap with [start, end]; one of no length without any."""
    return [later - earlier for earlier, later in pairwise(times) if later >= start and earlier <= end] or [0.0]


def _first_tokens(generator: skywork_rt.Generator, prompt_tokens: int) -> None:
    """Warms up: a prompt, and some tokens."""
    prompt = random_prompts(Workload("warm", 1, min(prompt_tokens, 64), 1), generator.model.vocab_size, 0)[0]
    generator.generate(prompt, temperature=0.0, max_tokens=4, ignore_eos=True)


def _measure(generator: skywork_rt.Generator, prompt_tokens: int, repeat: int) -> Stall:
    workload = Workload("stall", 5, prompt_tokens, 1)
    prompts = random_prompts(workload, generator.model.vocab_size, 1 + repeat)
    one = skywork_rt.SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True)
    alone = _seconds(lambda: generator.generate(prompts[0], one))
    with _Ticker(generator, prompts[1][:16]) as ticker:
        ticker.wait(_BEFORE)
        start = time.perf_counter()
        beside = _seconds(lambda: generator.generate(prompts[2], one))
    gaps = gaps_within(ticker.times, start, start + beside)
    return Stall(
        prompt_alone=prompt_tokens / alone,
        prompt_beside=prompt_tokens / beside,
        prompt_share=100 * alone / beside,
        decode=1e3 * ticker.seconds_a_token(_BEFORE),
        median_gap=1e3 * summarise(gaps).median,
        longest_gap=1e3 * max(gaps),
        cancel=1e3 * _cancel(generator, prompts[3], _HALFWAY * alone),
        deadline=1e3 * _expire(generator, prompts[4], _HALFWAY * alone),
    )


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _cancel(generator: skywork_rt.Generator, prompt: Any, after: float) -> float:
    """Seconds from cancelling a prompt, `after` seconds from its begin, to its end."""
    stream = generator.stream(prompt, temperature=0.0, max_tokens=1, ignore_eos=True)
    time.sleep(after)
    started = time.perf_counter()
    stream.close()
    with contextlib.suppress(CancelledError):
        _ = stream.result  # it may have been done
    return time.perf_counter() - started


def _expire(generator: skywork_rt.Generator, prompt: Any, deadline: float) -> float:
    """Seconds from a deadline to hearing of it."""
    deadline = max(deadline, 0.001)
    started = time.perf_counter()
    with contextlib.suppress(DeadlineExceededError):
        generator.generate(prompt, temperature=0.0, max_tokens=1, ignore_eos=True, deadline=deadline)
    return max(0.0, time.perf_counter() - started - deadline)


class _Ticker:
    """A stream that is read on a thread of its own, with the time of each token."""

    def __init__(self, generator: skywork_rt.Generator, prompt: Any) -> None:
        most = min(_STREAM_TOKENS, generator.max_length - len(prompt))
        params = skywork_rt.SamplingParams(temperature=0.0, max_tokens=most, ignore_eos=True)
        self.times: list[float] = []
        self._started = 0.0
        self._stream = generator.stream(prompt, params)
        self._ended = threading.Event()
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read)

    def wait(self, tokens: int) -> None:
        """Until so many tokens have come."""
        with self._more:
            self._more.wait_for(lambda: len(self.times) >= tokens or not self._thread.is_alive())

    def seconds_a_token(self, tokens: int) -> float:
        """Of so many first tokens. From the stream's begin where they came at once, for a reader this slow."""
        seen = self.times[:tokens]
        return (seen[-1] - seen[0]) / max(1, len(seen) - 1) or (seen[-1] - self._started) / len(seen)

    def __enter__(self) -> _Ticker:
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        for piece in self._stream:
            with self._more:
                self.times += [time.perf_counter()] * len(piece.token_ids)
                self._more.notify()
            if self._ended.is_set():
                self._stream.close()
                return


def markdown(stalls: Stalls, machine: Mapping[str, Any], subject: Subject) -> str:
    """The rows, then what each stretch costs and gives, in one line."""
    lines = [
        f"stretch {stretch:g}: longest gap {_median(found, 'longest_gap'):.0f} ms "
        f"({_median(found, 'longest_gap') / _median(found, 'decode'):.1f} times a decode step), "
        f"prompts at {_median(found, 'prompt_share'):.0f} % of their speed alone"
        for stretch, found in stalls.by_stretch.items()
    ]
    return "\n\n".join([machine_line(machine), rows_table(stalls.rows(subject)), *lines])


def _median(stalls: Sequence[Stall], name: str) -> float:
    return summarise([getattr(stall, name) for stall in stalls]).median
