"""What a request gets does not depend on its neighbours: random schedules on the real backends, greedy and seeded.

The native backend promises the same bits. Lite's float32 sums differ by about 1e-6 between a batch and a single row, so
there a difference counts only where the two best tokens lie further apart than MARGIN; the others are counted and
reported.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bundles import BACKENDS
from skywork_rt import Generator, RequestOutput, SamplingParams

SCHEDULES = 20
MARGIN = 1e-4
WAYS: dict[str, dict[str, int | bool]] = {
    "batches of 2": {"max_batch": 2, "prefix_cache": False},
    "batches of 8": {"max_batch": 8, "prefix_cache": False},
    "batches of 16": {"max_batch": 16, "prefix_cache": False},
    "chunked": {"max_batch": 8, "prefill_budget": 7, "prefix_cache": False},
    "prefix-cached": {"max_batch": 8, "prefix_cache": True},
}


def _schedule(seed: int, vocabulary: int) -> tuple[list[list[int]], list[SamplingParams]]:
    """Four to twelve prompts of 1 to 60 tokens, half of which begin alike, and their greedy parameters."""
    draw = random.Random(seed)
    stem = [draw.randrange(vocabulary) for _ in range(40)]
    prompts = []
    for _ in range(draw.randint(4, 12)):
        shared = stem[: draw.randint(0, 40)] if draw.random() < 0.5 else []
        prompts.append(shared + [draw.randrange(vocabulary) for _ in range(draw.randint(1, 20))])
    params = [
        SamplingParams(temperature=0, max_tokens=draw.randint(1, 24), ignore_eos=True, logprobs=2) for _ in prompts
    ]
    return prompts, params


def _is_a_near_tie(alone: RequestOutput, other: RequestOutput) -> bool:
    """Whether the first differing token was chosen by less than MARGIN."""
    place = next(i for i, (a, b) in enumerate(zip(alone.token_ids, other.token_ids, strict=True)) if a != b)
    logprobs = alone.outputs[0].logprobs
    assert logprobs is not None
    best = sorted((entry.logprob for entry in logprobs[place].values()), reverse=True)
    return best[0] - best[1] < MARGIN


@pytest.mark.parametrize("way", WAYS)
def test_what_a_request_gets_does_not_depend_on_its_neighbours(tiny_bundle: Path, backend: str, way: str) -> None:
    ties = 0
    with (
        Generator(tiny_bundle, backend=backend, max_batch=1, prefix_cache=False) as lonely,
        Generator(tiny_bundle, backend=backend, **WAYS[way]) as crowded,
    ):
        for seed in range(SCHEDULES):
            prompts, params = _schedule(seed, lonely.model.vocab_size)
            alone = [lonely.generate(prompt, one) for prompt, one in zip(prompts, params, strict=True)]
            for expected, result in zip(alone, crowded.generate(prompts, params), strict=True):
                if expected.token_ids == result.token_ids:
                    continue
                assert backend != "native", "the native backend promises the same bits"
                assert _is_a_near_tie(expected, result), f"schedule {seed}, prompt {expected.prompt_token_ids}"
                ties += 1
        assert (crowded.stats()["prefix_hit_tokens"] > 0) == bool(WAYS[way]["prefix_cache"])
    print(f"{backend}, {way}: {ties} near ties went the other way")


def _drawn(seed: int) -> SamplingParams:
    """Parameters of one seeded request, n samples and every cut among them."""
    draw = random.Random(seed)
    return SamplingParams(
        seed=draw.randrange(2**64), n=draw.randint(1, 3), max_tokens=draw.randint(1, 16), ignore_eos=True,
        temperature=draw.choice([0.5, 1.0, 1.7]), top_k=draw.choice([0, 5, 100]), top_p=draw.choice([1.0, 0.9, 0.5]),
        min_p=draw.choice([0.0, 0.02]), typical_p=draw.choice([1.0, 0.8]), logprobs=1,
        repetition_penalty=draw.choice([1.0, 1.2]), no_repeat_ngram_size=draw.choice([0, 3]),
    )  # fmt: skip


@pytest.mark.skipif("native" not in BACKENDS, reason="only the native backend promises the same logits")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_seeded_samples_are_the_same_with_any_threads_and_neighbours(tiny_bundle: Path, way: str, threads: int) -> None:
    with (
        Generator(tiny_bundle, backend="native", max_batch=4, threads=1, prefix_cache=False) as lonely,
        Generator(tiny_bundle, backend="native", threads=threads, **{**WAYS[way], "max_batch": 8}) as crowded,
    ):
        for seed in range(5):
            prompts, _ = _schedule(seed, lonely.model.vocab_size)
            params = [_drawn(100 * seed + i) for i in range(len(prompts))]
            alone = [lonely.generate(prompt, one) for prompt, one in zip(prompts, params, strict=True)]
            for expected, result in zip(alone, crowded.generate(prompts, params), strict=True):
                assert result.outputs == expected.outputs, f"schedule {seed}, prompt {expected.prompt_token_ids}"
