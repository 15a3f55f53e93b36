"""Routing by prefixes, alone: no Ray, no server."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywork_rt.bench.routing_sim import ROUTERS, Fleet, Workload, make_requests, simulate
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.routing.index import PrefixIndex
from skywork_rt.routing.policy import PrefixPolicy
from skywork_rt.routing.prefix import BLOCK_CHARACTERS, MAX_BLOCKS, prefix_of_ids, prefix_of_request, prefix_of_text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["prompt", "messages", "role", "content"]), inner),
    max_leaves=6,
)


def test_prompts_that_begin_alike_have_the_same_first_blocks() -> None:
    shared = "s" * (3 * BLOCK_CHARACTERS)
    one, two = prefix_of_text(shared + "a" * 200), prefix_of_text(shared + "b" * 200)
    assert one[:3] == two[:3] and not set(one[3:]) & set(two[3:])
    assert prefix_of_text("a" * 200, "m") != prefix_of_text("a" * 200, "n"), "caches of two models share nothing"
    assert len(prefix_of_ids(list(range(100_000)))) == MAX_BLOCKS
    assert prefix_of_text("short") == ()


def test_the_prompt_of_every_route_is_found() -> None:
    text = "x" * 500
    messages = [{"role": "system", "content": text}, {"role": "user", "content": "hi"}]
    parts = [{"role": "system", "content": [{"type": "text", "text": text}]}, {"role": "user", "content": "other"}]
    assert prefix_of_request({"model": "m", "prompt": text}) == prefix_of_text(text, "m")
    assert prefix_of_request({"prompt": [text, "y"]}) == prefix_of_text(text)
    assert prefix_of_request({"prompt": list(range(64))}) == prefix_of_ids(list(range(64)))
    chat, other = prefix_of_request({"messages": messages}), prefix_of_request({"messages": parts})
    assert chat[:7] == other[:7] and len(chat) >= 7
    assert prefix_of_request({"input": text, "instructions": text})


@settings(max_examples=50)
@given(json_values, json_values, json_values)
def test_nothing_in_a_body_breaks_the_router(body: object, prompt: object, messages: object) -> None:
    for asked in (body, {"prompt": prompt}, {"messages": messages}, {"input": messages, "model": prompt}):
        assert isinstance(prefix_of_request(asked), tuple)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), max_size=6), st.booleans()), max_size=40),
    st.integers(1, 12),
)
def test_the_index_knows_what_a_simple_one_knows(steps: list[tuple[int, list[int], bool]], bound: int) -> None:
    """Against lists of blocks, and within its bound."""
    index: PrefixIndex[int] = PrefixIndex(bound)
    simple: dict[int, list[int]] = {}
    for replica, blocks, gone in steps:
        if gone:
            index.remove(replica)
            simple.pop(replica, None)
        prefix = prefix_of_ids([block for block in blocks for _ in range(16)])
        index.add(prefix, replica)
        kept = [block for block in simple.get(replica, []) if block not in prefix] + list(reversed(prefix))
        simple[replica] = kept[-bound:]
        assert len(index) == sum(map(len, simple.values()))
        expected = {
            depth: {r for r, known in simple.items() if prefix[depth - 1] in known}
            for depth in range(1, len(prefix) + 1)
        }
        for depth, holders in index.matches(prefix):
            assert set(holders) == expected[depth]
        longest = max((depth for depth, holders in expected.items() if holders), default=0)
        assert next(iter(index.matches(prefix)), (0, ()))[0] == longest


def ranked(policy: PrefixPolicy[str], prefix: tuple[int, ...], busy: dict[str, float]) -> str:
    return policy.rank(prefix, list(busy), busy, busy.__getitem__)[0]


def test_a_cached_prompt_is_worth_a_queue_but_not_any() -> None:
    policy: PrefixPolicy[str] = PrefixPolicy(patience=4)
    prefix = prefix_of_text("a" * 640)
    policy.routed(prefix, "has it")
    assert ranked(policy, prefix, {"has it": 3, "idle": 0}) == "has it"
    assert ranked(policy, prefix, {"has it": 5, "idle": 0}) == "idle"
    half = prefix_of_text("a" * 320 + "b" * 320)
    assert ranked(policy, half, {"has it": 1, "idle": 0}) == "has it"
    assert ranked(policy, half, {"has it": 3, "idle": 0}) == "idle"
    assert policy.rank(prefix, [], {}, lambda _: 0) == []


def test_who_is_gone_or_full_is_not_chosen() -> None:
    policy: PrefixPolicy[str] = PrefixPolicy()
    prefix = prefix_of_text("a" * 640)
    policy.routed(prefix, "gone")
    assert ranked(policy, prefix, {"here": 7}) == "here"
    policy.index.keep_only({"here"})
    assert len(policy.index) == 0


@pytest.mark.parametrize("options", [{"patience": -1}, {"samples": 0}, {"blocks_per_replica": float("nan")}])
def test_a_wrong_option_is_named(options: dict[str, float]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        PrefixPolicy(**options)  # type: ignore[arg-type]


def test_a_hot_prefix_spreads_over_all_replicas() -> None:
    policy: PrefixPolicy[int] = PrefixPolicy(chooser=random.Random(0))
    busy = dict.fromkeys(range(8), 0.0)
    for number in range(400):
        prefix = prefix_of_text("hot" * 400 + str(number))
        chosen = policy.rank(prefix, list(busy), busy, busy.__getitem__)[0]
        policy.routed(prefix, chosen)
        busy[chosen] += 1
    assert max(busy.values()) - min(busy.values()) <= 5


def test_more_is_cached_and_work_stays_even() -> None:
    fleet = Fleet(replicas=20, slots=8)
    requests = make_requests(fleet, Workload(requests=4000, applications=50))
    outcomes = {router: simulate(fleet, requests, router) for router in ROUTERS}
    ours, default = outcomes["prefix"], outcomes["two choices"]
    assert ours.hit_rate > default.hit_rate + 0.2
    assert ours.busiest < 1.3
    assert ours.ttft_p99 <= default.ttft_p99
    assert ours.index_blocks <= 20 * fleet.cache_tokens // 16


def test_a_choice_among_a_thousand_replicas_looks_at_few() -> None:
    policy: PrefixPolicy[int] = PrefixPolicy(chooser=random.Random(0))
    replicas, looked = range(1000), 0

    def busy(replica: int) -> float:
        nonlocal looked
        looked += 1
        return 0.0

    prefix = prefix_of_text("a" * 6400)
    for replica in replicas:
        policy.routed(prefix, replica)
    start = time.process_time()
    policy.rank(prefix, replicas, replicas, busy)
    assert looked <= 3 * 8 + 4 and time.process_time() - start < 1
