"""GGUF vocabularies as converters write them: ids and ends are llama.cpp's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gguf_cases import CASES, CONTROL, ENDS, NORMAL, TEXTS, TOGETHER, USER, Vocabulary, sentencepiece, with_ends

from runtime_tokenizer import runtime_tokenizer
from skywork_rt.checkpoints.gguf.file import GgufFile
from skywork_rt.checkpoints.gguf.tokenizer import read_tokenizer
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("gguf_cases.json").read_text())


def read(vocabulary: Vocabulary, directory: Path) -> TokenizerFiles:
    files = read_tokenizer(GgufFile(vocabulary.write(directory / "a.gguf")).metadata)
    assert files is not None
    return files


@pytest.mark.parametrize("name", CASES)
def test_ids_are_those_of_llama_cpp(tmp_path: Path, name: str) -> None:
    tokenizer = runtime_tokenizer(read(CASES[name], tmp_path))
    assert {text: tokenizer.encode(text) for text in TEXTS} == dict(zip(TEXTS, GOLDEN["ids"][name], strict=True))


@pytest.mark.parametrize("kind", [CONTROL, USER])
@pytest.mark.parametrize("text", ENDS)
def test_a_token_ends_a_sequence_where_llama_cpp_knows_it(tmp_path: Path, text: str, kind: int) -> None:
    ends = read(with_ends(text, kind=kind), tmp_path).eos_ids
    assert (257 in ends) == (text in GOLDEN["ends"][str(kind)])
    assert ends[0] == 256


@pytest.mark.parametrize("index", range(len(TOGETHER)))
def test_ends_that_mean_something_else_beside_each_other(tmp_path: Path, index: int) -> None:
    ends = read(with_ends(*TOGETHER[index]), tmp_path).eos_ids
    assert sorted(i - 257 for i in ends if i > 256) == GOLDEN["together"][index]


@pytest.mark.parametrize("text", ["</s>", "<eos>", "[EOS]", "<PAD>"])
def test_ordinary_text_that_looks_like_an_end_is_none(tmp_path: Path, text: str) -> None:
    assert read(with_ends(text, kind=NORMAL), tmp_path).eos_ids == (256,)


def test_a_doubled_token_is_read_by_its_first_id_and_written_by_both(tmp_path: Path) -> None:
    vocabulary = sentencepiece()
    vocabulary.tokens[-1] = vocabulary.tokens[vocabulary.tokens.index("user")]
    tokenizer = runtime_tokenizer(read(vocabulary, tmp_path))
    assert tokenizer.encode("user user", add_special_tokens=False) == [262, 262]
    assert tokenizer.decode([261, len(vocabulary.tokens) - 1]) == "useruser"


def test_a_doubled_token_of_a_byte_level_vocabulary_too(tmp_path: Path) -> None:
    vocabulary = with_ends("<|x|>")
    vocabulary.tokens += ["ab", ""]
    assert vocabulary.types is not None
    vocabulary.types += [NORMAL, NORMAL]
    tokenizer = runtime_tokenizer(read(vocabulary, tmp_path))
    assert tokenizer.encode("ab<|x|>", add_special_tokens=False) == [258, 257]
    assert tokenizer.decode([258, 259, 260]) == "abab"


def test_special_tokens_for_templates_are_the_texts_of_the_named_ids(tmp_path: Path) -> None:
    assert dict(read(sentencepiece(), tmp_path).special_tokens) == {"bos_token": "<s>", "eos_token": "</s>"}
