"""Real vocabularies: the ids of the models' own tokenizers, from the GGUF files that llama.cpp tests itself with."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer

from skywork_rt.checkpoints.gguf import tokenizer as reader
from skywork_rt.checkpoints.sample_vocabularies import NAMES, llama_cpp_vocabularies, read_vocabulary
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import CheckpointError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Path:
    return llama_cpp_vocabularies()


def _encode(files: TokenizerFiles, texts: list[str]) -> list[list[int]]:
    if files.kind == "sentencepiece":
        ids: list[list[int]] = sentencepiece.SentencePieceProcessor(model_proto=files.content).encode(texts)
        return ids
    tokenizer = Tokenizer.from_str(files.content.decode())
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader gives tokenizer.json as it made it: loading it a second time for vocab.bin takes seconds."""

    def files(content: str, **_: object) -> TokenizerFiles:
        return TokenizerFiles("tokenizers", content.encode(), [], byte_level=True)

    monkeypatch.setattr(reader, "tokenizer_json_files", files)


PHI3 = pytest.mark.xfail(raises=CheckpointError, reason="its 53 tokens of the type unknown are one in SentencePiece")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [pytest.param(name, marks=PHI3 if name == "phi-3" else ()) for name in NAMES])
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
