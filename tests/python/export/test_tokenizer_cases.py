"""Tokenizers of Hugging Face directories, one thing different in each: ids and special tokens are transformers' own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizer_cases import CASES, TEXTS

from runtime_tokenizer import runtime_tokenizer
from skywork_rt.checkpoints.huggingface.tokenizer import read_tokenizer

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("tokenizer_cases.json").read_text())["cases"]


@pytest.mark.parametrize("name", CASES)
def test_ids_and_special_tokens_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    files = read_tokenizer(CASES[name].write(tmp_path / "model"))
    assert files is not None
    golden = GOLDEN[name]
    tokenizer = runtime_tokenizer(files)
    assert {text: tokenizer.encode(text) for text in TEXTS} == dict(zip(TEXTS, golden["ids"], strict=True))
    assert dict(files.special_tokens) == golden["special_tokens"]
    assert files.bos_id == golden["bos"]
    assert files.eos_ids == (() if golden["eos"] is None else (golden["eos"],))
    assert files.pad_id == golden["pad"]
