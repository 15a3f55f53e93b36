"""The pre-tokenizers of GGUF files: llama.cpp's ids for every name that it knows, and what is said of the others."""

from __future__ import annotations

import json
import logging
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from skywork_rt.checkpoints.gguf.pre_tokenizers import PRE_TOKENIZERS, REFUSED, PreTokenizer, pre_tokenizer_of
from skywork_rt.checkpoints.gguf.tokenizer import read_tokenizer
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import UnsupportedError

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("pre_tokenizers.json").read_text(encoding="utf-8"))
TEXTS = [case["text"] for case in GOLDEN["cases"]]
BY_NAME = {name: entry for entry in PRE_TOKENIZERS for name in entry.names}


def _tokenizer(**changes: Any) -> TokenizerFiles:
    tokens = GOLDEN["tokens"]
    metadata = {
        "model": "gpt2",
        "tokens": tokens,
        "token_type": [3, 3] + [1] * (len(tokens) - 2),
        "merges": GOLDEN["merges"],
        "bos_token_id": 0,
        "eos_token_id": 1,
        **changes,
    }
    files = read_tokenizer({f"tokenizer.ggml.{key}": value for key, value in metadata.items()})
    assert files is not None
    return files


def _ids(files: TokenizerFiles, texts: list[str]) -> list[list[int]]:
    tokenizer = Tokenizer.from_str(files.content.decode())
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def _golden_ids(name: str, entry: PreTokenizer) -> list[list[int]]:
    """By llama.cpp, which does not normalise: the ids of the normalised text where the model does."""
    chosen = GOLDEN["names"][name]["ids"]
    ids = {case["text"]: case["ids"][index] for case, index in zip(GOLDEN["cases"], chosen, strict=True)}
    return [ids[unicodedata.normalize("NFC", text) if entry.nfc else text] for text in TEXTS]


def test_every_name_of_llama_cpp_is_known_once() -> None:
    names = [name for entry in PRE_TOKENIZERS for name in entry.names]
    assert len(set(names)) == len(names)
    assert set(names) == set(GOLDEN["names"])
    assert not set(names) & set(REFUSED)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_pre_tokenizer_gives_the_ids_of_the_reference(name: str) -> None:
    files = _tokenizer(pre=name)
    expected = _golden_ids(name, BY_NAME[name])
    for text, found, wanted in zip(TEXTS, _ids(files, TEXTS), expected, strict=True):
        assert found == wanted, text
    assert bool(files.prefix_ids) == GOLDEN["names"][name]["add_bos"]


@pytest.mark.parametrize("name", [entry.names[0] for entry in PRE_TOKENIZERS])
def test_a_pre_tokenizer_loses_no_text(name: str) -> None:
    files = _tokenizer(pre=name)
    tokenizer = Tokenizer.from_str(files.content.decode())
    for text, ids in zip(TEXTS, _ids(files, TEXTS), strict=True):
        wanted = unicodedata.normalize("NFC", text) if BY_NAME[name].nfc else text
        assert tokenizer.decode(ids, skip_special_tokens=False) == wanted


def test_the_golden_texts_tell_different_pre_tokenizers_apart() -> None:
    behaviours = {(entry.patterns, entry.ignore_merges) for entry in PRE_TOKENIZERS}
    answers = {json.dumps(GOLDEN["names"][entry.names[0]]["ids"]) for entry in PRE_TOKENIZERS}
    assert len(answers) == len(behaviours) - 1  # bailingmoe's pattern is another spelling of qwen2's


@pytest.mark.parametrize("name", [*REFUSED, "gpt-5"])
def test_a_pre_tokenizer_that_cannot_be_expressed_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UnsupportedError) as raised:
        _tokenizer(pre=name)
    assert f"GGUF pre-tokenizer '{name}' is not supported ({REFUSED.get(name, 'the name is unknown')})" in str(
        raised.value
    )
    assert "export the Hugging Face directory of the model instead" in str(raised.value)


@pytest.mark.parametrize("changes", [{}, {"pre": ""}])
def test_a_file_that_names_no_pre_tokenizer_gets_the_default_and_a_warning(
    caplog: pytest.LogCaptureFixture, changes: dict[str, str]
) -> None:
    with caplog.at_level(logging.WARNING):
        files = _tokenizer(**changes)
    assert _ids(files, TEXTS) == _golden_ids("default", pre_tokenizer_of("default"))
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("skywork_rt.export", "WARNING")
    for part in ("names no pre-tokenizer", "Llama 3 files of early 2024", "convert the model to GGUF again"):
        assert part in record.getMessage()


def test_a_file_that_names_its_pre_tokenizer_gets_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    _tokenizer(pre="default")
    assert not caplog.records


def test_the_space_prefix_of_sentencepiece_is_ignored() -> None:
    assert _tokenizer(pre="gpt-2", add_space_prefix=True).content == _tokenizer(pre="gpt-2").content


@pytest.mark.parametrize(("name", "given", "adds"), [("llama-bpe", False, False), ("gpt-2", True, True)])
def test_the_file_decides_whether_bos_is_added(name: str, given: bool, adds: bool) -> None:
    assert bool(_tokenizer(pre=name, add_bos_token=given).prefix_ids) == adds
