"""Situations that people reported in public trackers (docs/checkpoints.md lists them), each with the right outcome."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import edit_json, small, write_hf
from gguf_cases import CONTROL, NORMAL, sentencepiece, with_ends
from template_cases import SPECIAL_TOKENS
from tokenizer_cases import SPM_SIZE, Case, byte_level, sentencepiece_model, token

import skywork_rt
from llama_cpp_files import fetch_llama_cpp_files
from runtime_tokenizer import runtime_tokenizer
from skywork_rt.checkpoints.gguf.file import GgufFile
from skywork_rt.checkpoints.gguf.tokenizer import read_tokenizer as read_gguf
from skywork_rt.checkpoints.huggingface.tokenizer import read_tokenizer
from skywork_rt.checkpoints.open import open_source
from skywork_rt.export import export
from skywork_rt.text.chat_template import ChatTemplates, render_chat

USER = {"role": "user", "content": "Hi"}


def opened(directory: Path) -> skywork_rt.Generator:
    bundle = export(directory, directory.parent / "bundle", targets=["native"], weights=["f32"], overwrite=True)
    return skywork_rt.Generator(bundle)


def test_llama_cpp_4331_chatml_tokens_that_a_converter_calls_ordinary(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vocabulary = with_ends("<|im_start|>", "<|im_end|>", kind=NORMAL)
    vocabulary.template = "<|im_start|>user"
    files = read_gguf(GgufFile(vocabulary.write(tmp_path / "a.gguf")).metadata)
    assert files is not None
    assert files.eos_ids == (256, 258)
    assert runtime_tokenizer(files).encode("a<|im_end|>", add_special_tokens=False)[1:] == [258]
    assert "the file calls <|im_start|> ordinary text, so prompts spell it out" in caplog.text


def test_llama_cpp_4772_text_after_a_special_token_of_sentencepiece(tmp_path: Path) -> None:
    user, spaced = 261, 262
    files = read_gguf(GgufFile(sentencepiece().write(tmp_path / "a.gguf")).metadata)
    assert runtime_tokenizer(files).encode("<s>user", add_special_tokens=False) == [1, spaced]
    case = Case({"tokenizer.model": sentencepiece_model(), "tokenizer_config.json": {"legacy": False}})
    other = runtime_tokenizer(read_tokenizer(case.write(tmp_path / "legacy-false")))
    assert other.encode("<s>user", add_special_tokens=False) == [1, user]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["google-gemma-2-2b-it", "meta-llama-Llama-3.2-3B-Instruct", "Qwen-Qwen2.5-7B-Instruct"]
)
def test_llama_cpp_11866_official_templates_with_null_content(name: str) -> None:
    template = (fetch_llama_cpp_files() / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    templates = ChatTemplates({"default": template}, SPECIAL_TOKENS)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    silent: list[dict[str, Any]] = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, USER]
    empty = [USER, {"role": "assistant", "content": "", "tool_calls": [call]}, USER]
    assert render_chat(templates, silent) == render_chat(templates, empty)
    assert "None" not in render_chat(templates, silent)


def test_transformers_36622_spaces_before_marks_survive_decoding(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": True}
    case = Case({"tokenizer.json": byte_level(["<s>"]), "tokenizer_config.json": settings})
    tokenizer = runtime_tokenizer(read_tokenizer(case.write(tmp_path / "model")))
    for text in (" ...", "': 'search", "do n't , I 'm ."):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_transformers_28622_no_space_in_front_when_the_settings_say_so(tmp_path: Path) -> None:
    case = Case({"tokenizer.model": sentencepiece_model(), "tokenizer_config.json": {"add_prefix_space": False}})
    assert runtime_tokenizer(read_tokenizer(case.write(tmp_path / "model"))).encode("user") == [1, 261]


def test_transformers_22710_text_token_by_token_keeps_its_spaces(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model", config=small(vocab_size=SPM_SIZE, tied_embeddings=False))
    (directory / "tokenizer.model").write_bytes(sentencepiece_model())
    with opened(directory) as generator:
        always_user = {262: 1000.0}
        result = generator.generate("us", max_tokens=3, temperature=0, logit_bias=always_user).outputs[0]
        pieces = [piece.text for piece in generator.stream("us", max_tokens=3, temperature=0, logit_bias=always_user)]
        assert result.text == "".join(pieces) == " user user user"


def test_mlx_1077_the_end_of_deepseek_is_no_byte_level_text(tmp_path: Path) -> None:
    end = "<｜end▁of▁sentence｜>"
    files = read_gguf(GgufFile(with_ends(end, kind=CONTROL).write(tmp_path / "a.gguf")).metadata)
    assert files is not None
    tokenizer = runtime_tokenizer(files)
    assert tokenizer.encode(f"a{end}", add_special_tokens=False)[1:] == [257]
    assert tokenizer.decode([257], skip_special_tokens=False) == end
    assert 257 in files.eos_ids


def _byte_level_directory(path: Path, settings: dict[str, Any], **config: Any) -> Path:
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<pad>"]
    directory = write_hf(path, config=small(vocab_size=256 + len(special), tied_embeddings=False))
    (directory / "tokenizer.json").write_text(byte_level(special))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    edit_json(directory / "config.json", **config)
    return directory


def test_mlx_1408_every_end_that_a_file_names_ends(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|eot_id|>"}
    directory = _byte_level_directory(tmp_path / "model", settings, eos_token_id=257)
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [259, 257]}))
    with opened(directory) as generator:
        assert generator.model.eos_ids == [259, 257, 260]
        for end in (257, 259, 260):
            output = generator.generate("a", max_tokens=4, temperature=0, logit_bias={end: 1000.0}).outputs[0]
            assert (output.token_ids, output.finish_reason) == ([end], "stop")


def test_mlx_647_a_template_without_the_begin_token_is_rendered_as_it_is(tmp_path: Path) -> None:
    """As in transformers and vLLM: what stands around a plain prompt is not put around a template's."""
    settings = {"bos_token": "<s>", "chat_template": "{{ messages[0].content }}", "tokenizer_class": "LlamaTokenizer"}
    with opened(_byte_level_directory(tmp_path / "model", settings)) as generator:
        assert generator.encode_chat([USER]) == generator.encode("Hi", add_special_tokens=False)
        assert generator.encode("Hi") == [256, *generator.encode_chat([USER])]


def _phi(directory: Path) -> Path:
    added = [token("<|user|>", True, rstrip=True), token("<|end|>", True, rstrip=True)]
    case = Case({"tokenizer.json": byte_level(["<s>"], added=added), "tokenizer_config.json": {}})
    return case.write(directory)


def _phi_of_sentencepiece(directory: Path) -> Path:
    decoder = {str(SPM_SIZE + i): token(text, True, rstrip=True) for i, text in enumerate(("<|user|>", "<|end|>"))}
    settings = {"added_tokens_decoder": decoder, "legacy": False}
    return Case({"tokenizer.model": sentencepiece_model(), "tokenizer_config.json": settings}).write(directory)


@pytest.mark.parametrize("make", [_phi, _phi_of_sentencepiece])
def test_onnxruntime_1248_special_tokens_take_the_spaces_behind_them(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    tokenizer = runtime_tokenizer(read_tokenizer(make(tmp_path / "model")))
    spaced = tokenizer.encode("<|user|>\nuser<|end|>\n<|end|>", add_special_tokens=False)
    assert spaced == tokenizer.encode("<|user|>user<|end|><|end|>", add_special_tokens=False)


def test_onnxruntime_823_the_end_of_config_json_is_not_the_only_one(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "LlamaTokenizer", "eos_token": "<|im_end|>"}
    directory = _byte_level_directory(tmp_path / "model", settings, eos_token_id=257)
    with opened(directory) as generator:
        assert generator.model.eos_ids == [257, 259]
        output = generator.generate("a", max_tokens=4, temperature=0, logit_bias={259: 1000.0}).outputs[0]
        assert (output.text, output.finish_reason) == ("", "stop")


def test_onnxruntime_1824_ends_and_padding_come_from_the_tokenizer_where_the_configuration_has_none(
    tmp_path: Path,
) -> None:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "<pad>"}
    directory = _byte_level_directory(
        tmp_path / "model", settings, eos_token_id=None, pad_token_id=None, bos_token_id=None
    )
    config = open_source(directory).config
    assert (config.eos_ids, config.pad_id, config.bos_id) == ((257,), 261, None)
