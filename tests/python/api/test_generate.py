"""Generator on a tiny random model: what calls give back, and that one call does not change another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skywork_rt
from skywork_rt import Generator, SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
PROMPTS = [[5], [17, 90, 401], [9] * 30, [300, 2, 45, 8, 120, 7], list(range(10, 60))]


def test_one_prompt_gives_one_result(generator: Generator) -> None:
    result = generator.generate([5, 6, 7], GREEDY)
    assert isinstance(result, skywork_rt.RequestOutput)
    assert result.prompt is None
    assert result.prompt_token_ids == [5, 6, 7]
    assert len(result.token_ids) == 12
    assert result.finish_reason == "length"
    assert result.stop_reason is None
    assert result.logprobs is None
    assert result.outputs[0].cumulative_logprob is None
    assert result.prompt_logprobs is None
    assert result.outputs[0].token_ids == result.token_ids
    assert result.text == generator.decode(result.token_ids)


def test_many_prompts_give_a_list_in_their_order(generator: Generator) -> None:
    alone = [generator.generate(prompt, GREEDY).token_ids for prompt in PROMPTS]
    together = generator.generate(PROMPTS, GREEDY)
    assert [result.token_ids for result in together] == alone
    assert [result.prompt_token_ids for result in together] == PROMPTS


def test_a_list_of_one_prompt_gives_a_list(generator: Generator) -> None:
    results = generator.generate([[5, 6]], GREEDY)
    assert isinstance(results, list)
    assert len(results) == 1


def test_text_ids_and_arrays_are_one_prompt(generator: Generator) -> None:
    text = "the quick brown fox"
    ids = generator.encode(text)
    expected = generator.generate(text, GREEDY)
    assert expected.prompt == text
    assert expected.prompt_token_ids == ids
    for prompt in (ids, tuple(ids), np.array(ids), np.array(ids, np.uint16)):
        assert generator.generate(prompt, GREEDY).token_ids == expected.token_ids


def test_keywords_replace_fields_of_the_params(generator: Generator) -> None:
    result = generator.generate([5, 6, 7], GREEDY, max_tokens=3)
    assert result.token_ids == generator.generate([5, 6, 7], GREEDY).token_ids[:3]
    assert len(generator.generate([5], max_tokens=2, temperature=0, ignore_eos=True).token_ids) == 2


def test_each_prompt_can_have_its_own_params(generator: Generator) -> None:
    results = generator.generate([[5], [5]], [GREEDY.replace(max_tokens=2), GREEDY.replace(max_tokens=5)])
    assert [len(result.token_ids) for result in results] == [2, 5]
    with pytest.raises(skywork_rt.InvalidArgumentError, match="1 params were given for 2 prompts"):
        generator.generate([[5], [5]], [GREEDY])
    with pytest.raises(skywork_rt.InvalidArgumentError, match="params is a dict"):
        generator.generate([5], {"temperature": 0})  # type: ignore[call-overload]


def test_a_seed_gives_the_same_samples_alone_and_in_company(generator: Generator) -> None:
    params = SamplingParams(seed=7, max_tokens=20, top_k=50, temperature=0.9, ignore_eos=True)
    first = generator.generate([5, 6, 7], params)
    assert first.seed == 7
    assert generator.generate([5, 6, 7], params).token_ids == first.token_ids
    company = generator.generate([[9, 9], [5, 6, 7], [30] * 20], params)
    assert company[1].token_ids == first.token_ids
    assert generator.generate([5, 6, 7], params, seed=8).token_ids != first.token_ids


def test_a_seed_that_was_drawn_is_reported_and_repeats(generator: Generator) -> None:
    params = SamplingParams(max_tokens=20, ignore_eos=True)
    first, second = generator.generate([5], params), generator.generate([5], params)
    assert first.seed != second.seed
    assert generator.generate([5], params, seed=first.seed).token_ids == first.token_ids


def test_n_samples_differ_and_the_first_is_that_of_n_1(generator: Generator) -> None:
    params = SamplingParams(n=4, seed=3, max_tokens=16, ignore_eos=True)
    result = generator.generate([5, 6, 7], params)
    assert [output.index for output in result.outputs] == [0, 1, 2, 3]
    assert len({tuple(output.token_ids) for output in result.outputs}) == 4
    assert result.token_ids == generator.generate([5, 6, 7], params, n=1).token_ids


def test_stop_ids_end_the_output_and_are_told(generator: Generator) -> None:
    ids = generator.generate([5, 6, 7], GREEDY).token_ids
    stop = ids[4]
    result = generator.generate([5, 6, 7], GREEDY, stop_token_ids=[stop])
    assert result.token_ids == ids[: ids.index(stop) + 1]
    assert result.finish_reason == "stop"
    assert result.stop_reason == stop


def test_stop_texts_end_the_output_before_them(generator: Generator) -> None:
    text = generator.generate("the quick", GREEDY, max_tokens=40).text
    stop = text[8:11]
    result = generator.generate("the quick", GREEDY, max_tokens=40, stop=[stop])
    assert result.text == text[: text.index(stop)]
    assert result.finish_reason == "stop"
    assert result.stop_reason == stop
    kept = generator.generate("the quick", GREEDY, max_tokens=40, stop=stop, include_stop_str_in_output=True)
    assert kept.text == text[: text.index(stop)] + stop


def test_logprobs_are_dicts_with_the_chosen_token_first(generator: Generator) -> None:
    result = generator.generate([5, 6, 7], GREEDY, logprobs=3, prompt_logprobs=2)
    assert result.logprobs is not None
    assert result.prompt_logprobs is not None
    assert len(result.logprobs) == len(result.token_ids)
    for token, row in zip(result.token_ids, result.logprobs, strict=True):
        assert next(iter(row)) == token
        assert row[token].rank == 1
        assert sorted(entry.rank for entry in row.values()) == [1, 2, 3]
        assert all(entry.logprob <= row[token].logprob <= 0 for entry in row.values())
    assert result.prompt_logprobs[0] is None
    for token, prompt_row in zip([6, 7], result.prompt_logprobs[1:], strict=True):
        assert prompt_row is not None
        assert next(iter(prompt_row)) == token
        assert len(prompt_row) in (2, 3)
    total = sum(row[t].logprob for t, row in zip(result.token_ids, result.logprobs, strict=True))
    assert result.outputs[0].cumulative_logprob == pytest.approx(total, abs=1e-4)


def test_logprobs_zero_gives_the_chosen_token_only(generator: Generator) -> None:
    result = generator.generate([5, 6, 7], GREEDY, logprobs=0, prompt_logprobs=0)
    assert result.logprobs is not None
    assert [list(row) for row in result.logprobs] == [[token] for token in result.token_ids]
    assert result.prompt_logprobs is not None
    assert [None if row is None else list(row) for row in result.prompt_logprobs] == [None, [6], [7]]


def test_beams_come_best_first(generator: Generator) -> None:
    result = generator.generate([5, 6, 7], temperature=0, num_beams=4, n=4, max_tokens=8)
    sums = [output.cumulative_logprob for output in result.outputs]
    scores = [total / len(output.token_ids) for total, output in zip(sums, result.outputs, strict=True) if total]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(output.token_ids) for output in result.outputs}) == 4


def test_score_equals_prompt_logprobs(generator: Generator) -> None:
    score = generator.score([5, 6, 7], [8, 9])
    rows = generator.generate([5, 6, 7, 8, 9], GREEDY, prompt_logprobs=0).prompt_logprobs
    assert rows is not None
    expected = [rows[3][8].logprob, rows[4][9].logprob]  # type: ignore[index]
    assert score.token_ids == [8, 9]
    assert score.token_logprobs == pytest.approx(expected, abs=1e-4)
    assert score.logprob == pytest.approx(sum(expected), abs=1e-4)


def test_score_tells_greedy_continuations(generator: Generator) -> None:
    greedy = generator.generate([5, 6, 7], GREEDY).token_ids[:3]
    other = [*greedy[:2], (greedy[2] + 1) % 512]
    scores = generator.score([[5, 6, 7], [5, 6, 7]], [greedy, other])
    assert [score.is_greedy for score in scores] == [True, False]
    assert scores[0].logprob > scores[1].logprob


def test_score_of_texts_is_cut_where_the_prompt_ends(generator: Generator) -> None:
    score = generator.score("the quick", " brown fox")
    whole, start = generator.encode("the quick brown fox"), len(generator.encode("the quick"))
    assert score.token_ids == whole[start:]


def test_defaults_come_from_the_generation_config(generator: Generator) -> None:
    assert generator.default_params == SamplingParams.from_generation_config(generator._bundle.generation_config)


def test_timings_fit_together(generator: Generator) -> None:
    timings = generator.generate([5, 6, 7], GREEDY).timings
    assert 0 <= timings.queued <= timings.ttft <= timings.total
    assert timings.tokens == 12
    assert timings.tpot is not None
    assert timings.tpot > 0
    assert timings.tokens_per_second > 0


def test_stats_count(generator: Generator) -> None:
    before = generator.stats()
    generator.generate(PROMPTS, GREEDY)
    after = generator.stats()
    assert after["finished"] - before["finished"] == len(PROMPTS)
    assert after["generated_tokens"] - before["generated_tokens"] == 12 * len(PROMPTS)
    assert after["running"] == 0
    assert after["queued"] == 0


def test_more_prompts_than_the_queue_takes_are_fed_in(tiny_bundle: Path, backend: str) -> None:
    with Generator(tiny_bundle, backend=backend, max_batch=2, max_queue=2) as generator:
        results = generator.generate([[5 + i] for i in range(12)], GREEDY, max_tokens=2)
        assert [result.prompt_token_ids for result in results] == [[5 + i] for i in range(12)]


def test_progress_reports_up_to_the_end(generator: Generator) -> None:
    seen: list[tuple[int, int]] = []
    generator.generate(PROMPTS, GREEDY, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(PROMPTS), len(PROMPTS))
    assert seen == sorted(seen)


def test_options_show_what_was_chosen(generator: Generator, backend: str) -> None:
    options = generator.options
    assert options["backend"] == backend
    assert options["max_length"] == generator.max_length == 256
    assert options["threads"] >= 1
    assert options["max_batch"] == 8
    assert backend in repr(generator)


def test_max_length_bounds_prompt_and_output(tiny_bundle: Path, backend: str) -> None:
    with Generator(tiny_bundle, backend=backend, max_length=32) as generator:
        result = generator.generate([5] * 10, SamplingParams(temperature=0, max_tokens=None, ignore_eos=True))
        assert len(result.token_ids) == 22
        assert result.finish_reason == "length"


def test_chat_goes_through_the_models_template(generator: Generator) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello!"}]
    ids = generator.encode_chat(messages)
    eos = generator.model.eos_ids[0]
    # Special tokens that the template writes become their ids.
    assert ids.count(eos) == 2
    text = generator.decode(ids, skip_special_tokens=True)
    assert text.replace("\n", " ").split() == ["[system]", "Be", "kind.", "[user]", "Hello!", "[assistant]"]
    result = generator.chat(messages, GREEDY)
    assert result.prompt_token_ids == ids
    streamed = "".join(piece.text for piece in generator.chat(messages, GREEDY, stream=True))
    assert streamed == result.text


def test_close_is_idempotent_and_final(tiny_bundle: Path, backend: str) -> None:
    generator = Generator(tiny_bundle, backend=backend)
    generator.close()
    generator.close()
    with pytest.raises(skywork_rt.ClosedError):
        generator.generate([5], GREEDY)


def test_two_generators_live_side_by_side(tiny_bundle: Path, backend: str) -> None:
    with Generator(tiny_bundle, backend=backend) as one, Generator(tiny_bundle, backend=backend) as two:
        assert one.generate([5, 6], GREEDY).token_ids == two.generate([5, 6], GREEDY).token_ids


def test_threads_share_one_generator(generator: Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    expected = [generator.generate(prompt, GREEDY).token_ids for prompt in PROMPTS]

    def run(index: int) -> Any:
        return generator.generate(PROMPTS[index % len(PROMPTS)], GREEDY).token_ids

    with ThreadPoolExecutor(8) as pool:
        for index, ids in enumerate(pool.map(run, range(40))):
            assert ids == expected[index % len(PROMPTS)]
