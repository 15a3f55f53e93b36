"""GGUF vocabularies as converters write them, different in one thing each; golden/gguf_cases.json has llama.cpp's ids.

Used by the test and by the script that makes the golden file, which runs where this project is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

TEXTS = [
    "user",
    " user",
    "  user  user ",
    "user\nuser",
    "<s>user</s>user",
    "<|im_start|>user\nuser<|im_end|>\n<|im_start|>user",
    "user <|im_end|> user",
    "<unk> user <unk>user",
    "[PAD268] user",
    "陕西 user 省 😀",
    "",
    " ",
    "usererusus er",
    "the user\u2581the",
    "\t\tuser\r\n",
]

_WORDS = ["us", "er", "user", "\u2581user", "\u2581", "u", "s", "e", "r", "\u2581\u2581", "the", "\u2581the", "t", "h"]


@dataclass
class Vocabulary:
    """What tokenizer.ggml says; None leaves a key out."""

    tokens: list[str]
    types: list[int] | None
    scores: list[Any] | None
    keys: dict[str, Any]
    model: str = "llama"
    name: str = "small"
    template: str | None = None

    def write(self, path: Path) -> Path:
        """A GGUF file without weights."""
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_name(self.name)
        if self.template is not None:
            writer.add_chat_template(self.template)
        for key in ("block_count", "context_length", "embedding_length", "feed_forward_length"):
            writer.add_uint32(f"llama.{key}", 8)
        writer.add_uint32("llama.attention.head_count", 1)
        writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        writer.add_string("tokenizer.ggml.model", self.model)
        for key, values in self._lists().items():
            writer.add_array(f"tokenizer.ggml.{key}", values)
        for key, value in self.keys.items():
            add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
            add[type(value)](f"tokenizer.ggml.{key}", value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def _lists(self) -> dict[str, Sequence[Any]]:
        lists = {"tokens": self.tokens, "scores": self.scores, "token_type": self.types}
        return {key: values for key, values in lists.items() if values is not None}


def sentencepiece() -> Vocabulary:
    """As SentencePiece itself has it: <unk>, <s>, </s>, 256 bytes, words."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *_WORDS]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(_WORDS)
    scores = [0.0] * 259 + [-float(index) for index in range(len(_WORDS))]
    return Vocabulary(tokens, types, scores, {"bos_token_id": 1, "eos_token_id": 2})


def _with(*changes: Callable[[Vocabulary], object]) -> Vocabulary:
    vocabulary = sentencepiece()
    for change in changes:
        change(vocabulary)
    return vocabulary


def _types(values: dict[int, int]) -> Callable[[Vocabulary], None]:
    def change(vocabulary: Vocabulary) -> None:
        assert vocabulary.types is not None
        for index, kind in values.items():
            vocabulary.types[index] = kind

    return change


def _more(*tokens: tuple[str, int]) -> Callable[[Vocabulary], None]:
    def change(vocabulary: Vocabulary) -> None:
        assert vocabulary.types is not None and vocabulary.scores is not None
        for text, kind in tokens:
            vocabulary.tokens.append(text)
            vocabulary.types.append(kind)
            vocabulary.scores.append(-1000.0)

    return change


def _keys(**keys: Any) -> Callable[[Vocabulary], None]:
    return lambda vocabulary: vocabulary.keys.update(keys)


def _without(*keys: str) -> Callable[[Vocabulary], None]:
    return lambda vocabulary: [vocabulary.keys.pop(key) for key in keys]


def _drop(name: str) -> Callable[[Vocabulary], None]:
    return lambda vocabulary: setattr(vocabulary, name, None)


def _empty(index: int) -> Callable[[Vocabulary], None]:
    return lambda vocabulary: vocabulary.tokens.__setitem__(index, "")


_CHATML = _more(("<|im_end|>", CONTROL), ("<|im_start|>", CONTROL))

CASES: dict[str, Vocabulary] = {
    "as SentencePiece has it": _with(),
    "<unk> is a control token": _with(_types({0: CONTROL})),
    "<unk> is a control token and named": _with(_types({0: CONTROL}), _keys(unknown_token_id=0)),
    "<unk> is a normal token": _with(_types({0: NORMAL})),
    "padding of the type unknown": _with(_more(("[PAD268]", UNKNOWN), ("[PAD269]", UNKNOWN))),
    "padding of the type unused": _with(_more(("[PAD268]", UNUSED), ("[PAD269]", UNUSED))),
    "no scores": _with(_drop("scores")),
    "scores are whole numbers": _with(lambda v: setattr(v, "scores", [int(score) for score in v.scores or ()])),
    "no types": _with(_drop("types")),
    "an empty token": _with(_empty(-1)),
    "no bos, no eos id": _with(_without("bos_token_id", "eos_token_id")),
    "a bos id that no token has": _with(_keys(bos_token_id=5000)),
    "no bos in front": _with(_keys(add_bos_token=False)),
    "eos behind": _with(_keys(add_eos_token=True)),
    "no space in front": _with(_keys(add_space_prefix=False)),
    "chatml of the user": _with(_more(("<|im_end|>", USER), ("<|im_start|>", USER))),
    "chatml of control": _with(_CHATML),
    "chatml without space in front": _with(_CHATML, _keys(add_space_prefix=False)),
    "phi-3 by its name": _with(_CHATML, _more(("<|endoftext|>", CONTROL)), lambda v: setattr(v, "name", "Phi-3 mini")),
    "types and scores longer than tokens": _with(
        lambda v: v.types.extend([1, 1]),
        lambda v: v.scores.extend([0.0, 0.0]),  # type: ignore[union-attr]
    ),
}

# fmt: off
ENDS = [
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[", "<|fim_pad|>",
    "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>",
    "<reponame>", "<|file_sep|>", "<|plamo:eos|>", "<|im_start|>", "<|start_header_id|>", "<|assistant|>",
    "<|user|>", "<|stop|>", "<end>", "<|EOT|>", "[/INST]",
]
# fmt: on
"""Texts of which llama.cpp knows most as ends."""

TOGETHER = (
    ("<|return|>", "<|call|>", "<|end|>"),
    ("<|calls|>", "<|flush|>", "<|end|>"),
    ("<|tool_response>", "</s>"),
    ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
)
"""Texts that mean something else beside each other."""


def with_ends(*texts: str, kind: int = CONTROL) -> Vocabulary:
    """A byte-level vocabulary whose eos is of no use, and `texts` after it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(byte) for byte in plain] + [chr(256 + index) for index in range(256 - len(plain))]
    tokens = [*alphabet, "<base_end>", *texts]
    types = [NORMAL] * 256 + [CONTROL] + [kind] * len(texts)
    keys = {"pre": "gpt-2", "eos_token_id": 256, "bos_token_id": 256, "merges": ["a b"]}
    return Vocabulary([*tokens, "ab"], [*types, NORMAL], None, keys, model="gpt2")
