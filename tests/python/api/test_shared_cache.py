"""The cache is shared by block on the native backend: what is common counts once, and requests may give way."""

from __future__ import annotations

from pathlib import Path

import pytest

from skywork_rt import CapacityError, Generator, InvalidArgumentError, SamplingParams, UnsupportedError
from skywork_rt.api.requests import Terms

PROMPT = [3 + i % 200 for i in range(96)]
SAMPLED = SamplingParams(temperature=1.0, seed=7, max_tokens=16, ignore_eos=True)


def test_samples_and_beams_count_a_shared_prompt_once(tiny_bundle: Path) -> None:
    with Generator(tiny_bundle, backend="native", max_cached_tokens=96 + 8 * 16) as generator:
        eight = generator.generate(PROMPT, SAMPLED, n=8)
        assert len({tuple(output.token_ids) for output in eight.outputs}) > 1
        assert len(generator.generate(PROMPT, num_beams=8, max_tokens=16, temperature=0).token_ids) > 0
        with pytest.raises(CapacityError, match=r"the prompt once.*max_cached_tokens is 224"):
            generator.generate(PROMPT, SAMPLED, n=8, max_tokens=17)


def test_rows_of_their_own_count_each(tiny_bundle: Path) -> None:
    with (
        Generator(tiny_bundle, backend="lite", max_cached_tokens=96 + 8 * 16) as generator,
        pytest.raises(CapacityError, match=r"896 cached tokens"),
    ):
        generator.generate(PROMPT, SAMPLED, n=8)


def test_a_salt_keeps_tenants_apart(tiny_bundle: Path, backend: str) -> None:
    with Generator(tiny_bundle, backend=backend) as generator:

        def hits(**terms: str) -> int:
            before = generator.stats()["prefix_hit_tokens"]
            generator.generate(PROMPT, max_tokens=1, temperature=0, **terms)
            return int(generator.stats()["prefix_hit_tokens"] - before)

        assert hits(cache_salt="one") == 0
        assert hits(cache_salt="one") == 95
        assert hits(cache_salt="other") == 0
        assert hits() == 0
        assert hits() == 95
        with pytest.raises(InvalidArgumentError, match="cache_salt has 300 bytes"):
            generator.generate(PROMPT, cache_salt="x" * 300)
        with pytest.raises(InvalidArgumentError, match="cache_salt is 5"):
            generator.generate(PROMPT, cache_salt=5)


def test_a_request_that_gave_way_goes_on_to_the_bit(tiny_bundle: Path) -> None:
    prompts = [[3 + (i * 5 + place) % 200 for i in range(20 + place)] for place in range(12)]
    params = [
        SamplingParams(temperature=0.8 * (i % 2), seed=i, max_tokens=60, ignore_eos=True, logprobs=2, prompt_logprobs=1)
        for i in range(12)
    ]
    with Generator(tiny_bundle, backend="native", max_batch=1, prefix_cache=False) as alone:
        expected = [alone.generate(prompt, one) for prompt, one in zip(prompts, params, strict=True)]
    for prefix_cache in (True, False):
        with Generator(
            tiny_bundle, backend="native", admission="optimistic", max_cached_tokens=320, prefix_cache=prefix_cache
        ) as crowded:
            results = crowded.generate(prompts, params)
            assert crowded.stats()["preempted"] > 0
        for one, other in zip(expected, results, strict=True):
            assert other.token_ids == one.token_ids
            assert other.outputs[0].logprobs == one.outputs[0].logprobs
            assert other.prompt_logprobs == one.prompt_logprobs


def test_optimistic_admission_is_refused_where_it_would_be_seen(tiny_bundle: Path) -> None:
    with pytest.raises(UnsupportedError, match=r'"optimistic".*"lite".*Traits::bitwise'):
        Generator(tiny_bundle, backend="lite", admission="optimistic")
    with pytest.raises(InvalidArgumentError, match='admission is "hopeful"'):
        Generator(tiny_bundle, admission="hopeful")


def test_terms_say_what_is_wrong_with_them() -> None:
    with pytest.raises(InvalidArgumentError, match="priority is True"):
        Terms(priority=True)
    with pytest.raises(InvalidArgumentError, match="deadline is 'soon'"):
        Terms(deadline="soon")  # type: ignore[arg-type]
