"""Real vocabularies: the ids of the models' own tokenizers, from the GGUF files that llama.cpp tests itself with."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from llama_cpp_files import NAMES, fetch_llama_cpp_files, read_vocabulary
from runtime_tokenizer import runtime_tokenizer
from skywork_rt.checkpoints.gguf import tokenizer as reader
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Path:
    return fetch_llama_cpp_files()


def _encode(files: TokenizerFiles, texts: list[str]) -> list[list[int]]:
    if files.kind == "sentencepiece":
        runtime = runtime_tokenizer(files)
        return [runtime.encode(text, add_special_tokens=False) for text in texts]
    tokenizer = Tokenizer.from_str(files.content.decode())
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader gives tokenizer.json as it made it: loading it a second time for vocab.bin takes seconds."""

    def files(content: str, **_: object) -> TokenizerFiles:
        return TokenizerFiles("tokenizers", content.encode(), [], byte_level=True)

    monkeypatch.setattr(reader, "tokenizer_json_files", files)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", NAMES)
def test_a_real_vocabulary_gives_the_ids_of_its_model(folder: Path, name: str) -> None:
    vocabulary = read_vocabulary(folder, name)
    files = reader.read_tokenizer(vocabulary.file.metadata)
    assert files is not None
    golden = dict(zip(vocabulary.texts, vocabulary.ids, strict=True))
    if name == "qwen35":  # its last texts were added with the ids of llama.cpp, which does not normalise
        golden = {text: ids for text, ids in golden.items() if unicodedata.is_normalized("NFC", text)}
    assert len(golden) >= 40
    for text, ids in zip(golden, _encode(files, list(golden)), strict=True):
        assert ids == golden[text], text
