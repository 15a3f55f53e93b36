"""Small Hugging Face directories whose tokenizers differ in one thing each; golden/tokenizer_cases.json has their ids.

Used by the test and by the script that makes the golden file, which runs where this project is not installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2 as schema
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

TEXTS = [
    "user",
    " user",
    "  two spaces  ",
    "user user\nuser",
    "<s>user</s>user",
    "<|im_start|>user\nuser<|im_end|>\n<|im_start|>user",
    "user <|im_end|> user",
    "user<|im_end|>user",
    "a <tool> b<tool>c  <tool>  d",
    "<tool>user",
    "user<tool>",
    " <tool> ",
    "the<word>x <word> y",
    "<word>",
    "[INST] user [/INST] user",
    "user [PAD] user",
    "<unk> user <unk>",
    "陕西 user 省",
    "\u2581user\u2581\u2581user",
    "",
    " ",
    "\n",
    "us er US ER",
    "😀 user",
    "<extra>user<extra>",
    "\tuser",
]

_SPM_WORDS = [
    "us",
    "er",
    "user",
    "\u2581user",
    "\u2581",
    "\u2581\u2581",
    "u",
    "s",
    "e",
    "r",
    "the",
    "\u2581the",
    "t",
    "h",
]
_UNKNOWN, _NORMAL, _CONTROL, _USER, _BYTE = 2, 1, 3, 4, 6


@dataclass(frozen=True)
class Case:
    """One directory. `files`: name to JSON value, text or bytes."""

    files: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True)
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 400, **self.config}
        for name, value in {"config.json": config, **self.files}.items():
            data = (
                value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
            )
            (directory / name).write_bytes(data)
        return directory


def sentencepiece_model(*more: tuple[str, int]) -> bytes:
    """A BPE model of bytes and a few words; `more`: pieces with their type."""
    model = schema.ModelProto()
    pieces = [("<unk>", 0.0, _UNKNOWN), ("<s>", 0.0, _CONTROL), ("</s>", 0.0, _CONTROL)]
    pieces += [(f"<0x{byte:02X}>", 0.0, _BYTE) for byte in range(256)]
    pieces += [(word, -float(index), _NORMAL) for index, word in enumerate(_SPM_WORDS)]
    pieces += [(text, 0.0, kind) for text, kind in more]
    for text, score, kind in pieces:
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type, model.trainer_spec.vocab_size = 2, len(pieces)
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name, model.normalizer_spec.add_dummy_prefix = "identity", True
    model.normalizer_spec.remove_extra_whitespaces = False
    content: bytes = model.SerializeToString()
    return content


SPM_SIZE = 3 + 256 + len(_SPM_WORDS)


def token(content: str, special: bool = False, **flags: bool) -> dict[str, Any]:
    """An added token as JSON files describe it."""
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    return {"content": content, "special": special, **plain, **flags}


def byte_level(special: list[str], *, bos: str | None = None, eos: str | None = None, added: list[Any] = []) -> str:  # noqa: B006
    """tokenizer.json: 256 bytes, then `special`, then `added`; bos and eos through the post-processor."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.add_tokens([AddedToken(**flags) for flags in added])
    if bos or eos:
        template = f"{bos + ' ' if bos else ''}$A{' ' + eos if eos else ''}"
        ids = [(text, tokenizer.token_to_id(text)) for text in (bos, eos) if text]
        tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=ids)
    content: str = tokenizer.to_str()
    return content


_OBJECT = {"__type": "AddedToken"}  # marks an object as a token in tokenizer_config.json
_LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}
_DECODER = {str(i): token(text, True) for i, text in enumerate(("<unk>", "<s>", "</s>"))}
_CHATML = {str(SPM_SIZE): token("<|im_end|>"), str(SPM_SIZE + 1): token("<|im_start|>")}
_SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
_FAST = {"bos_token": "<s>", "eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"}


def _spm(settings: Mapping[str, Any] | None = None, *more: tuple[str, int], **files: Any) -> Case:
    given = {} if settings is None else {"tokenizer_config.json": settings}
    named = {name.replace("__", "."): value for name, value in files.items()}
    return Case({"tokenizer.model": sentencepiece_model(*more), **given, **named})


def _decoder(*tokens: dict[str, Any], **settings: Any) -> dict[str, Any]:
    more = {str(SPM_SIZE + index): value for index, value in enumerate(tokens)}
    return {**_LLAMA, "added_tokens_decoder": {**_DECODER, **more}, **settings}


def _json(
    settings: Mapping[str, Any] | None, content: str, config: Mapping[str, Any] | None = None, **files: Any
) -> Case:
    given = {} if settings is None else {"tokenizer_config.json": settings}
    named = {name.replace("__", "."): value for name, value in files.items()}
    return Case({"tokenizer.json": content, **given, **named}, config or {})


CASES: dict[str, Case] = {
    "spm: legacy by default": _spm(_LLAMA),
    "spm: no tokenizer_config.json": _spm(),
    "spm: legacy false": _spm({**_LLAMA, "legacy": False}),
    "spm: no prefix space": _spm({**_LLAMA, "add_prefix_space": False}),
    "spm: no prefix space, legacy false": _spm({**_LLAMA, "add_prefix_space": False, "legacy": False}),
    "spm: no bos": _spm({**_LLAMA, "add_bos_token": False}),
    "spm: bos and eos": _spm({**_LLAMA, "add_eos_token": True}),
    "spm: chatml": _spm({**_LLAMA, "added_tokens_decoder": {**_DECODER, **_CHATML}, "eos_token": "<|im_end|>"}),
    "spm: chatml, legacy false": _spm({**_LLAMA, "added_tokens_decoder": {**_DECODER, **_CHATML}, "legacy": False}),
    "spm: added_tokens.json": _spm(
        {**_LLAMA, "eos_token": "<|im_end|>"}, added_tokens__json={"<|im_end|>": SPM_SIZE, "<|im_start|>": SPM_SIZE + 1}
    ),
    "spm: added_tokens.json, legacy false": _spm(
        {**_LLAMA, "legacy": False}, added_tokens__json={"<tool>": SPM_SIZE, "<|im_start|>": SPM_SIZE + 1}
    ),
    "spm: normalized": _spm(_decoder(token("<tool>", normalized=True))),
    "spm: normalized, legacy false": _spm(_decoder(token("<tool>", normalized=True), legacy=False)),
    "spm: lstrip": _spm(_decoder(token("<tool>", lstrip=True))),
    "spm: rstrip": _spm(_decoder(token("<tool>", rstrip=True))),
    "spm: lstrip and rstrip, special": _spm(_decoder(token("<tool>", True, lstrip=True, rstrip=True))),
    "spm: rstrip of eos": _spm(_decoder(eos_token=_OBJECT | token("</s>", True, rstrip=True), legacy=False)),
    "spm: single_word": _spm(_decoder(token("<word>", single_word=True), token("us", single_word=True))),
    "spm: single_word and normalized": _spm(_decoder(token("us", single_word=True, normalized=True))),
    "spm: user-defined piece": _spm(_LLAMA, ("<tool>", _USER), ("\u2581\u2581x", _USER)),
    "spm: user-defined piece, legacy false": _spm({**_LLAMA, "legacy": False}, ("<tool>", _USER)),
    "spm: control piece": _spm(_LLAMA, ("[INST]", _CONTROL), ("[/INST]", _CONTROL)),
    "spm: additional_special_tokens": _spm({**_LLAMA, "additional_special_tokens": ["<extra>", "<tool>"]}),
    "spm: special_tokens_map.json": _spm(
        {"tokenizer_class": "LlamaTokenizer"},
        special_tokens_map__json={"eos_token": token("<|im_end|>"), "bos_token": "<s>", "pad_token": "[PAD]"},
        added_tokens__json={"<|im_end|>": SPM_SIZE},
    ),
    "spm: pad beside the vocabulary": _spm({**_LLAMA, "pad_token": "[PAD]"}),
    "spm: special token that is a word": _spm({**_LLAMA, "eos_token": "user"}),
    "json: post-processor": _json(_FAST, byte_level(_SPECIAL, bos="<s>")),
    "json: post-processor with both ends": _json(_FAST, byte_level(_SPECIAL, bos="<s>", eos="</s>")),
    "json: add_bos_token means nothing": _json({**_FAST, "add_bos_token": True}, byte_level(_SPECIAL)),
    "json: no class, llama": _json({"bos_token": "<s>", "eos_token": "</s>"}, byte_level(["<unk>", *_SPECIAL])),
    "json: llama class": _json(_LLAMA, byte_level(["<unk>", *_SPECIAL])),
    "json: llama class without bos": _json(
        {**_LLAMA, "add_bos_token": False}, byte_level(["<unk>", *_SPECIAL], bos="<s>")
    ),
    "json: llama class with eos": _json({**_LLAMA, "add_eos_token": True}, byte_level(["<unk>", *_SPECIAL])),
    "json: special_tokens_map.json alone": _json(
        {}, byte_level(["<unk>", *_SPECIAL]), special_tokens_map__json={"bos_token": "<s>", "eos_token": "<|im_end|>"}
    ),
    "json: map overridden by decoder": _json(
        {**_FAST, "added_tokens_decoder": {"256": token("<s>", True)}},
        byte_level(_SPECIAL),
        special_tokens_map__json={"bos_token": "</s>", "eos_token": "</s>"},
    ),
    "json: qwen2": _json(
        {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "add_bos_token": True, "bos_token": None},
        byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        {"model_type": "qwen2", "bos_token_id": 256},
    ),
    "json: gpt2 by default": _json({"tokenizer_class": "GPT2Tokenizer"}, byte_level(["<|endoftext|>"])),
    "json: bos as an object": _json({**_FAST, "bos_token": _OBJECT | token("<s>")}, byte_level(_SPECIAL, bos="<s>")),
    "json: tokens only in the decoder": _json(
        {**_FAST, "added_tokens_decoder": {"260": token("<tool>", rstrip=True), "261": token("<extra>", True)}},
        byte_level(_SPECIAL),
    ),
    "json: pad beside the vocabulary": _json({**_FAST, "pad_token": "[PAD]"}, byte_level(_SPECIAL)),
    "json: flags": _json(
        _FAST,
        byte_level(
            _SPECIAL,
            added=[
                token("<tool>", lstrip=True, rstrip=True),
                token("us", single_word=True),
                token("<word>", normalized=True, lstrip=True),
            ],
        ),
    ),
}
