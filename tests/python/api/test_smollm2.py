"""The real model through the whole stack: what transformers float32 says, we say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cores import ONE_CORE
from golden import SmolGolden, SmolPrompt
from skywork_rt import Generator, SamplingParams

pytestmark = pytest.mark.slow

GREEDY = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
GOLDEN = SmolGolden.load()

#: Lite takes ten times as long. What differs between backends is the logits, which test_parity.py compares at every
#: count of rows; here every prompt starts on both, and test_a_batch_of_eight... goes on to 40 tokens on both.
SINGLE_TOKENS = {"lite": 12, "native": 40}

#: Prompts of a width. The search is the core's; Lite's part is to follow when rows are copied, dropped and reordered.
BEAMS_ON_LITE = {2: ["design"], 4: ["list"], 8: ["story"]}

#: A step whose two best logits are nearer than this may go either way in another order of float32 sums.
CLOSE = 1e-4


@pytest.fixture(scope="module")
def smollm2(smollm2_bundle: Path, backend: str) -> Iterator[Generator]:
    options = {} if backend == "lite" else {"weights": "int4", "activations": "f32"}
    with Generator(smollm2_bundle, backend=backend, max_length=1024, max_batch=8, **ONE_CORE, **options) as generator:
        yield generator


def assert_greedy(prompt: SmolPrompt, found: list[int], count: int = 40) -> None:
    """`count` equal ids, up to the first step that was too close to call."""
    close = next((i for i, margin in enumerate(prompt.margins[:count]) if margin < CLOSE), count)
    assert len(found) == count
    assert found[:close] == prompt.greedy[:close], prompt.name


@pytest.mark.parametrize("name", GOLDEN.prompts)
def test_text_becomes_the_ids_of_the_golden_file(smollm2: Generator, name: str) -> None:
    prompt = GOLDEN.prompts[name]
    assert smollm2.encode(prompt.text) == prompt.ids
    assert smollm2.decode(prompt.ids, skip_special_tokens=False) == prompt.text


@pytest.mark.parametrize("name", GOLDEN.prompts)
def test_greedy_ids_are_those_of_transformers(smollm2: Generator, backend: str, name: str) -> None:
    prompt, count = GOLDEN.prompts[name], SINGLE_TOKENS[backend]
    result = smollm2.generate(prompt.text, GREEDY, max_tokens=count)
    assert_greedy(prompt, result.token_ids, count)
    assert result.text == (prompt.greedy_text if count == 40 else smollm2.decode(prompt.greedy[:count]))


def test_a_batch_of_eight_mixed_prompts_gives_each_its_own_ids(smollm2: Generator) -> None:
    names = ["design", "long-english", "provinces", "emoji", "function", "one-word", "spaces", "long-chinese"]
    prompts = [GOLDEN.prompts[name] for name in names]
    for prompt, result in zip(prompts, smollm2.generate([p.text for p in prompts], GREEDY), strict=True):
        assert_greedy(prompt, result.token_ids)


def test_an_eos_ends_the_output(smollm2: Generator) -> None:
    prompt = GOLDEN.prompts["design"]
    result = smollm2.generate(prompt.text, GREEDY, ignore_eos=False)
    assert result.token_ids == prompt.greedy[: prompt.greedy.index(2) + 1]
    assert result.finish_reason == "stop"
    assert result.stop_reason == 2


@pytest.mark.parametrize("width", [2, 4, 8])
def test_beams_are_those_of_transformers(smollm2: Generator, backend: str, width: int) -> None:
    for name in BEAMS_ON_LITE[width] if backend == "lite" else GOLDEN.data["beams"]:
        (expected,) = [beam for beam in GOLDEN.data["beams"][name] if beam["width"] == width]
        result = smollm2.generate(GOLDEN.prompts[name].ids, temperature=0, num_beams=width, n=width, max_tokens=20)
        found = [output.token_ids for output in result.outputs]
        assert found == [hypothesis["token_ids"] for hypothesis in expected["hypotheses"]], name
        for output, hypothesis in zip(result.outputs, expected["hypotheses"], strict=True):
            assert output.cumulative_logprob is not None
            score = output.cumulative_logprob / len(output.token_ids)
            assert score == pytest.approx(hypothesis["score"], abs=1e-3), name


@pytest.mark.parametrize("name", GOLDEN.data["prompt_logprobs"])
def test_prompt_logprobs_are_those_of_transformers(smollm2: Generator, name: str) -> None:
    prompt = GOLDEN.prompts[name]
    rows = smollm2.generate(prompt.ids, GREEDY, max_tokens=1, prompt_logprobs=5).prompt_logprobs
    assert rows is not None
    expected = GOLDEN.data["prompt_logprobs"][name]
    assert len(rows) == len(expected)
    assert rows[0] is None
    for token, row, wanted in zip(prompt.ids[1:], rows[1:], expected[1:], strict=True):
        assert row is not None
        assert row[token].logprob == pytest.approx(wanted["logprob"], abs=5e-3)
        best = sorted(row.items(), key=lambda item: item[1].rank)[:5]
        assert [entry.logprob for _, entry in best] == pytest.approx(wanted["top_logprobs"], abs=5e-3)


def test_choices_score_as_in_transformers(smollm2: Generator) -> None:
    """Sums, greedy flags and therefore the accuracy of a small multiple-choice task."""
    choices = GOLDEN.data["choices"]
    pairs = [(choice["context"], text) for choice in choices for text in choice["continuations"]]
    scores = smollm2.score([context for context, _ in pairs], [text for _, text in pairs])
    sums = [value for choice in choices for value in choice["sums"]]
    assert [score.logprob for score in scores] == pytest.approx(sums, abs=1e-2)
    assert [score.is_greedy for score in scores] == [flag for choice in choices for flag in choice["greedy"]]
    picked, correct = iter(scores), 0
    for choice in choices:
        found = [next(picked).logprob for _ in choice["continuations"]]
        correct += max(range(len(found)), key=found.__getitem__) == choice["right"]
    assert correct == 6, "of 8 questions, as in transformers"


def test_chat_answers_through_chatml(smollm2: Generator) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    ids = smollm2.encode_chat(messages)
    text = smollm2.decode(ids, skip_special_tokens=False)
    assert text.endswith("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
    assert ids.count(1) == text.count("<|im_start|>")
    assert ids.count(2) == text.count("<|im_end|>")
    result = smollm2.chat(messages, temperature=0, max_tokens=40)
    assert "Paris" in result.text
    assert result.finish_reason == "stop"
    assert "".join(p.text for p in smollm2.chat(messages, temperature=0, max_tokens=40, stream=True)) == result.text


def test_a_stop_text_over_token_borders_never_leaks(smollm2: Generator) -> None:
    prompt = GOLDEN.prompts["list"]
    full = smollm2.generate(prompt.text, GREEDY).text
    stop = full[10:21]
    pieces = [piece.text for piece in smollm2.stream(prompt.text, GREEDY, stop=[stop])]
    assert "".join(pieces) == full[: full.index(stop)]
