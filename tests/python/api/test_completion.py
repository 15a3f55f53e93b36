"""Where a completion's text begins, what stops it, and how long it is when nobody says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import small, write_hf
from tokenizer_cases import SPM_SIZE, byte_level, sentencepiece_model, token

from skywork_rt import AsyncGenerator, Generator, InvalidArgumentError, SamplingParams
from skywork_rt.export import export

US, USER, SPACED_USER, END = 259, 261, 262, SPM_SIZE
ALWAYS = {SPACED_USER: 1000.0}


def exported(directory: Path) -> Generator:
    return Generator(export(directory, directory.parent / "bundle", targets=["native"], weights=["f32"]))


@pytest.fixture(scope="module")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generator]:
    """A random SentencePiece model; bias makes it say what a test wants."""
    directory = write_hf(
        tmp_path_factory.mktemp("spm") / "model",
        config=small(vocab_size=SPM_SIZE + 1, tied_embeddings=False, max_length=64),
    )
    (directory / "tokenizer.model").write_bytes(sentencepiece_model())
    settings = {
        "chat_template": "{{ messages[0].content }}</s>",
        "added_tokens_decoder": {str(END): token("<|im_end|>", True)},
        "tokenizer_class": "LlamaTokenizer",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "generation_config.json").write_text(json.dumps({"max_new_tokens": 4096, "temperature": 0.0}))
    with exported(directory) as generator:
        yield generator


def test_a_completion_keeps_the_space_between_prompt_and_first_word(spm: Generator) -> None:
    for prompt in ("us", "us", [1, US], [US]):
        result = spm.generate(prompt, max_tokens=2, logit_bias=ALWAYS)
        assert result.outputs[0].text == " user user"
        assert "".join(piece.text for piece in spm.stream(prompt, max_tokens=2, logit_bias=ALWAYS)) == " user user"
        both = [*result.prompt_token_ids, *result.outputs[0].token_ids]
        assert spm.decode(both) == spm.decode(result.prompt_token_ids) + result.outputs[0].text


def test_a_prompt_without_text_begins_one(spm: Generator) -> None:
    assert spm.generate([1], max_tokens=2, logit_bias=ALWAYS).outputs[0].text == "user user"
    shown = spm.generate([1], max_tokens=2, logit_bias=ALWAYS, skip_special_tokens=False).outputs[0].text
    assert shown == " user user", "as the decode of <s> and both, where <s> is text"


def test_an_answer_in_a_chat_is_a_text_of_its_own(spm: Generator) -> None:
    messages = [{"role": "user", "content": "us"}]
    assert spm.chat(messages, max_tokens=2, logit_bias=ALWAYS).outputs[0].text == "user user"
    streamed = spm.chat(messages, max_tokens=2, logit_bias=ALWAYS, stream=True)
    assert "".join(piece.text for piece in streamed) == "user user"

    async def ask() -> tuple[str, str]:
        generator = AsyncGenerator(spm)
        answer = await generator.chat(messages, max_tokens=2, logit_bias=ALWAYS)
        completion = await generator.generate("us", max_tokens=2, logit_bias=ALWAYS)
        await generator.close()
        return answer.outputs[0].text, completion.outputs[0].text

    assert asyncio.run(ask()) == ("user user", " user user")


def test_beams_keep_the_space_too(spm: Generator) -> None:
    result = spm.generate("us", max_tokens=2, num_beams=2, temperature=0, logit_bias=ALWAYS)
    assert result.outputs[0].text == " user user"


def test_samples_keep_it_each(spm: Generator) -> None:
    result = spm.generate("us", max_tokens=2, n=3, temperature=1.0, logit_bias=ALWAYS)
    assert [output.text for output in result.outputs] == [" user user"] * 3


@pytest.mark.parametrize("options", [{}, {"skip_special_tokens": False}, {"include_stop_str_in_output": True}])
def test_a_stop_text_of_a_special_token_stops(spm: Generator, options: dict[str, Any]) -> None:
    for stop in ("<|im_end|>", ["never", "<|im_end|>"]):
        output = spm.generate("us", max_tokens=8, stop=stop, logit_bias={END: 1000.0}, **options).outputs[0]
        assert (output.finish_reason, output.token_ids, output.stop_reason) == ("stop", [END], "<|im_end|>")
        assert output.text == ("<|im_end|>" if options.get("include_stop_str_in_output") else "")


def test_a_max_tokens_that_nobody_set_is_clipped_to_what_fits(spm: Generator) -> None:
    prompt = [US] * 60
    for params in (None, SamplingParams(temperature=0), SamplingParams().replace(temperature=0)):
        output = spm.generate(prompt, params, logit_bias=ALWAYS).outputs[0]
        assert (len(output.token_ids), output.finish_reason) == (4, "length")
    assert len(spm.generate(prompt, logit_bias=ALWAYS, n=2, temperature=1).outputs[1].token_ids) == 4


@pytest.mark.parametrize(
    ("params", "options"),
    [
        (SamplingParams(max_tokens=256), {}),
        (None, {"max_tokens": 256}),
        (SamplingParams(temperature=0).replace(max_tokens=5), {"temperature": 0}),
    ],
)
def test_a_max_tokens_that_was_asked_for_and_does_not_fit_is_refused(
    spm: Generator, params: SamplingParams | None, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError, match=r"prompt \+ max_tokens is 60 \+"):
        spm.generate([US] * 60, params, **options)


def test_a_prompt_that_fills_the_length_is_refused_all_the_same(spm: Generator) -> None:
    with pytest.raises(InvalidArgumentError, match="nothing is left for the output"):
        spm.generate([US] * 64)


def test_what_the_model_states_is_nobodys_choice(spm: Generator) -> None:
    assert (spm.default_params.max_tokens, spm.default_params.sets("max_tokens")) == (4096, False)
    assert spm.default_params.replace(max_tokens=3).sets("max_tokens")
    assert not spm.default_params.replace(temperature=1).sets("max_tokens")
    assert SamplingParams() == SamplingParams(max_tokens=256), "whoever chose is no part of the value"


def test_a_byte_level_stop_text_may_spell_special_tokens_among_text(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model", config=small(vocab_size=258, tied_embeddings=False))
    (directory / "tokenizer.json").write_text(byte_level(["<s>", "<|end|>"]))
    with exported(directory) as generator:
        a, end = generator.encode("a")[-1], 257
        output = generator.generate("b", max_tokens=9, temperature=0, stop="a<|end|>", logit_bias={a: 900.0}).outputs[0]
        assert (output.text, output.finish_reason) == ("a" * 9, "length")
        output = generator.generate("b", max_tokens=9, temperature=0, stop="<|end|>a", logit_bias={end: 900.0})
        assert output.outputs[0].finish_reason == "length"
        assert output.outputs[0].text == ""
