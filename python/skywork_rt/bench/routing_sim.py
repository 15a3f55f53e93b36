"""Many replicas on paper: requests with shared prefixes, a router, and what each replica's cache and queue make of it.

A discrete simulation of events. A replica serves `slots` requests at once, each in its own time: the tokens of the
prompt that its cache lacks at the speed of prefill, and its answer at the speed of decoding. Its cache holds whole
prompts in blocks, the longest unused go first. So the cache that serves is the replica's, never the router's belief of
it. Router's time is measured, everything else is computed.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from skywork_rt.bench.stats import percentile
from skywork_rt.routing.index import PrefixIndex
from skywork_rt.routing.policy import PrefixPolicy
from skywork_rt.routing.prefix import BLOCK_IDS, Prefix

__all__ = ["ROUTERS", "Fleet", "Outcome", "Workload", "make_requests", "simulate"]


@dataclass(frozen=True)
class Fleet:
    """The replicas, all alike. Speeds in tokens/s of one request, lengths in tokens."""

    replicas: int = 1000
    slots: int = 16
    cache_tokens: int = 65536
    prefill: float = 2000.0
    decode: float = 25.0


@dataclass(frozen=True)
class Workload:
    """Conversations in applications: a system prompt that its application shares, then turns that grow."""

    requests: int = 100_000
    applications: int = 500
    """Their popularity falls as 1/rank (Zipf)."""
    system_tokens: int = 1024
    turns: int = 5
    turn_tokens: int = 128
    answer_tokens: int = 128
    load: float = 0.7
    """Arrivals as a share of what the fleet could serve if nothing were cached."""
    seed: int = 0


@dataclass(frozen=True)
class Request:
    """Blocks of the prompt, and when it comes."""

    time: float
    prefix: Prefix
    answer_tokens: int


@dataclass
class Outcome:
    """What came of a simulation. Times in seconds, tokens of prompts."""

    router: str
    hit_rate: float
    """Share of all tokens of prompts that a cache had."""
    ttft_p50: float
    ttft_p99: float
    busiest: float
    """Requests of the replica that got most, by the mean."""
    spread: float
    """Standard deviation of the replicas' requests, by the mean."""
    choice_us_p50: float
    choice_us_p99: float
    """Measured: what the router took for one choice, in microseconds."""
    index_blocks: int


@dataclass
class _Replica:
    slots: int
    cache: PrefixIndex[int]
    running: int = 0
    served: int = 0
    waiting: deque[tuple[Request, int]] = field(default_factory=deque)

    @property
    def requests(self) -> int:
        return self.running + len(self.waiting)


Choose = Callable[[Prefix, Sequence[_Replica]], int]


def make_requests(fleet: Fleet, workload: Workload) -> list[Request]:
    """Poisson arrivals of turns of conversations; a conversation's next turn comes some time after the one before."""
    generator = np.random.default_rng(workload.seed)
    weights = 1 / np.arange(1, workload.applications + 1)
    conversations = -(-workload.requests // workload.turns)
    applications = generator.choice(workload.applications, conversations, p=weights / weights.sum())
    mean_prompt = workload.system_tokens + workload.turn_tokens * (1 + workload.turns) / 2
    mean_prompt += workload.answer_tokens * (workload.turns - 1) / 2
    seconds = mean_prompt / fleet.prefill + workload.answer_tokens / fleet.decode
    rate = workload.load * fleet.replicas * fleet.slots / seconds
    span = workload.requests / rate
    starts = generator.uniform(0, span, conversations)
    pauses = generator.exponential(seconds * 2, (conversations, workload.turns)) + seconds
    requests = []
    for conversation, (application, start) in enumerate(zip(applications.tolist(), starts.tolist(), strict=True)):
        moments = start + np.cumsum(pauses[conversation]) - pauses[conversation][0]
        for turn, moment in enumerate(moments.tolist()):
            requests.append(Request(moment, _prompt(workload, application, conversation, turn), workload.answer_tokens))
    return sorted(requests, key=lambda request: request.time)[: workload.requests]


def _prompt(workload: Workload, application: int, conversation: int, turn: int) -> Prefix:
    own = workload.turn_tokens * (turn + 1) + workload.answer_tokens * turn
    system = [hash((application, block)) for block in range(workload.system_tokens // BLOCK_IDS)]
    return (*system, *(hash((application, conversation, block)) for block in range(own // BLOCK_IDS)))


def simulate(fleet: Fleet, requests: Sequence[Request], router: str, seed: int = 0) -> Outcome:
    """One router of ROUTERS on the requests."""
    choose, policy = ROUTERS[router](fleet, random.Random(seed))
    replicas = [_Replica(fleet.slots, PrefixIndex(fleet.cache_tokens // BLOCK_IDS)) for _ in range(fleet.replicas)]
    ends: list[tuple[float, int]] = []
    waits, choices, hits, total = [], [], 0, 0

    def start(now: float, request: Request, at: int) -> None:
        nonlocal hits, total
        replica = replicas[at]
        found = next(iter(replica.cache.matches(request.prefix)), (0, ()))[0]
        hits, total = hits + found, total + len(request.prefix)
        replica.cache.add(request.prefix, 0)
        replica.running += 1
        first = (len(request.prefix) - found) * BLOCK_IDS / fleet.prefill
        waits.append(now + first - request.time)
        heapq.heappush(ends, (now + first + request.answer_tokens / fleet.decode, at))

    def end(now: float, at: int) -> None:
        replicas[at].running -= 1
        if replicas[at].waiting:
            start(now, *replicas[at].waiting.popleft())

    for request in requests:
        while ends and ends[0][0] <= request.time:
            end(*heapq.heappop(ends))
        began = time.perf_counter()
        at = choose(request.prefix, replicas)
        if policy is not None:
            policy.routed(request.prefix, at)
        choices.append(1e6 * (time.perf_counter() - began))
        replicas[at].served += 1
        if replicas[at].running < fleet.slots:
            start(request.time, request, at)
        else:
            replicas[at].waiting.append((request, at))
    while ends:
        end(*heapq.heappop(ends))
    served = np.array([replica.served for replica in replicas])
    return Outcome(
        router,
        hits / max(1, total),
        percentile(waits, 50),
        percentile(waits, 99),
        float(served.max() / served.mean()),
        float(served.std() / served.mean()),
        percentile(choices, 50),
        percentile(choices, 99),
        len(policy.index) if policy is not None else 0,
    )


Router = Callable[[Fleet, random.Random], tuple[Choose, PrefixPolicy[int] | None]]


def _random(fleet: Fleet, chooser: random.Random) -> tuple[Choose, None]:
    return lambda prefix, replicas: chooser.randrange(len(replicas)), None


def _two_choices(fleet: Fleet, chooser: random.Random) -> tuple[Choose, None]:
    """Ray Serve's default: the less busy of two."""

    def choose(prefix: Prefix, replicas: Sequence[_Replica]) -> int:
        return min(chooser.sample(range(len(replicas)), min(2, len(replicas))), key=lambda at: replicas[at].requests)

    return choose, None


def _hashing(fleet: Fleet, chooser: random.Random) -> tuple[Choose, None]:
    """The first blocks alone decide: no look at queues."""
    return lambda prefix, replicas: hash(prefix[:16]) % len(replicas), None


def _prefix(fleet: Fleet, chooser: random.Random) -> tuple[Choose, PrefixPolicy[int]]:
    policy: PrefixPolicy[int] = PrefixPolicy(blocks_per_replica=fleet.cache_tokens // BLOCK_IDS, chooser=chooser)
    every = range(fleet.replicas)

    def choose(prefix: Prefix, replicas: Sequence[_Replica]) -> int:
        return policy.rank(prefix, every, every, lambda at: replicas[at].requests)[0]

    return choose, policy


ROUTERS: dict[str, Router] = {
    "random": _random,
    "two choices": _two_choices,
    "hash of the start": _hashing,
    "prefix": _prefix,
}
"""By the names in tables. `two choices` is what Ray Serve does by default, `prefix` is ours."""
