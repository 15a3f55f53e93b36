"""Both kinds of tokenizer: text survives the round trip, special tokens are ids, bos comes only when asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime_tokenizer import runtime_tokenizer
from skywork_rt import Generator, InvalidArgumentError
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.tokenizers.sentencepiece_model import sentencepiece_files
from skywork_rt.text.tokenizer import Tokenizer, load_tokenizer

TEXTS = [
    "hello world", "  leading", "trailing  ", "a\n\nb\tc", "陕西的省会是西安，", "🍕👩‍👩‍👧‍👦", "naïve café", "x" * 300,
    "1234567890", "▁underline", "<0x41>", "\u200b", "\x00\x01",
]  # fmt: skip


@pytest.fixture(scope="module")
def byte_level(tiny_bundle: Path) -> Tokenizer:
    loaded = load_tokenizer(BundleInfo.open(tiny_bundle))
    assert loaded is not None
    return loaded


@pytest.fixture(scope="module")
def sentencepiece() -> Tokenizer:
    from skywork_rt.checkpoints.samples import mistral_tokenizer

    return runtime_tokenizer(dataclasses.replace(sentencepiece_files(mistral_tokenizer().read_bytes()), prefix_ids=()))


@pytest.mark.parametrize("text", TEXTS)
def test_byte_level_text_survives(byte_level: Tokenizer, text: str) -> None:
    assert byte_level.decode(byte_level.encode(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_tokens_are_those_of_the_text(byte_level: Tokenizer, text: str) -> None:
    ids = byte_level.encode(text, add_special_tokens=False)
    assert b"".join(byte_level.token_bytes(token) for token in ids) == text.encode()


def test_the_bytes_of_an_id_that_is_not_there_are_refused(byte_level: Tokenizer) -> None:
    for wrong in (-1, 10**6):
        with pytest.raises(InvalidArgumentError, match="not in the vocabulary"):
            byte_level.token_bytes(wrong)


@pytest.mark.parametrize("text", TEXTS)
def test_sentencepiece_text_survives(sentencepiece: Tokenizer, text: str) -> None:
    if "▁" in text or "\x00" in text:
        pytest.skip("SentencePiece writes spaces as U+2581 and ends texts at NUL: it cannot tell them")
    assert sentencepiece.decode(sentencepiece.encode(text)) == text


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives_byte_level(byte_level: Tokenizer, text: str) -> None:
    ids = byte_level.encode(text, add_special_tokens=False)
    assert byte_level.decode(ids, skip_special_tokens=False) == text


def test_sentencepiece_begins_with_a_dummy_space(sentencepiece: Tokenizer) -> None:
    assert sentencepiece.token(sentencepiece.encode("hello")[0]) == "▁hell"


def test_bos_comes_when_asked_for(sentencepiece: Tokenizer) -> None:
    plain = sentencepiece.encode("hello")
    assert plain[0] != 1
    assert sentencepiece.encode("hello", add_special_tokens=True) == [1, *plain]
    assert sentencepiece.encode("hello", add_special_tokens=False) == plain


def test_bos_comes_by_itself_when_the_model_says_so() -> None:
    from skywork_rt.checkpoints.samples import mistral_tokenizer

    tokenizer = runtime_tokenizer(sentencepiece_files(mistral_tokenizer().read_bytes()))
    assert tokenizer.encode("hello")[0] == 1
    assert tokenizer.encode("hello", add_special_tokens=False)[0] != 1


def test_special_tokens_in_text_are_ids(sentencepiece: Tokenizer, byte_level: Tokenizer) -> None:
    ids = sentencepiece.encode("<s>hello</s>")
    assert (ids[0], ids[-1]) == (1, 2)
    assert sentencepiece.decode(ids) == "hello"
    assert sentencepiece.decode(ids, skip_special_tokens=False) == "<s> hello</s>"
    eos = byte_level.token(2)
    assert byte_level.encode(f"hello{eos}")[-1] == 2
    assert byte_level.decode(byte_level.encode(f"hello{eos}")) == "hello"
    plain = byte_level.encode(f"hello{eos}", add_special_tokens=False)
    assert byte_level.decode(plain, skip_special_tokens=False) == f"hello{eos}"


def test_only_the_texts_own_beginning_loses_the_dummy_prefix(sentencepiece: Tokenizer) -> None:
    """What transformers 5.24 decodes with this very tokenizer.model."""
    hello, world = sentencepiece.encode("hello"), sentencepiece.encode("world")
    for ids, with_special, without in (
        ([1, *hello], "<s> hello", "hello"),
        ([1, *hello, 2, *world], "<s> hello</s> world", "hello world"),
        ([*hello, 2, *world], "hello</s> world", "hello world"),
        ([1, 2, *hello], "<s></s> hello", "hello"),
    ):
        assert sentencepiece.decode(ids, skip_special_tokens=False) == with_special
        assert sentencepiece.decode(ids) == without


@pytest.mark.parametrize("bad", [-1, 10**6])
def test_ids_outside_of_the_vocabulary_are_refused(sentencepiece: Tokenizer, byte_level: Tokenizer, bad: int) -> None:
    for tokenizer in (sentencepiece, byte_level):
        with pytest.raises(InvalidArgumentError, match=f"token id {bad} at index 1"):
            tokenizer.decode([5, bad])


def test_lone_surrogates_are_refused(sentencepiece: Tokenizer, byte_level: Tokenizer) -> None:
    for tokenizer in (sentencepiece, byte_level):
        with pytest.raises(InvalidArgumentError, match="surrogate"):
            tokenizer.encode("a\ud800")


@pytest.fixture(scope="module", params=["byte-level", "sentencepiece"])
def engine(
    request: pytest.FixtureRequest, tiny_bundle: Path, sentencepiece_bundle: Path, backend: str
) -> Iterator[Generator]:
    bundle = tiny_bundle if request.param == "byte-level" else sentencepiece_bundle
    with Generator(bundle, backend=backend) as generator:
        yield generator


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_engine_decodes_as_the_tokenizer_does(engine: Generator, data: st.DataObject) -> None:
    """C++ turns ids to text by itself; any ids, broken characters included, give the library's own text."""
    tokenizer = engine.tokenizer
    assert tokenizer is not None
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), min_size=1, max_size=24))
    for skip in (True, False):
        assert engine.decode(ids, skip_special_tokens=skip) == tokenizer.decode(ids, skip_special_tokens=skip)
