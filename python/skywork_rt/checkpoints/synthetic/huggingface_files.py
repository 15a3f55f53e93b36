"""Writes the files of a small random Hugging Face checkpoint (see `huggingface_directory.write_random_hf`)."""

from __future__ import annotations

import io
import itertools
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from skywork_rt.checkpoints.huggingface.names import hugging_face_name as hf_name
from skywork_rt.checkpoints.model import Float32Array, ModelConfig
from skywork_rt.checkpoints.tensors.file_layout import TensorSpec
from skywork_rt.checkpoints.tensors.rounding import as_bfloat16_bits
from skywork_rt.checkpoints.tensors.safetensors_file import SAFETENSORS_TYPES
from skywork_rt.checkpoints.tensors.torch_pickle_writer import state_dict_pickle

__all__ = ["hf_name", "write_safetensors", "write_tokenizer", "write_torch_bin"]

CORPUS = (
    "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of times.",
    "陕西的省会是西安，甘肃的省会是兰州，河南的省会是郑州，湖北的省会是武汉，湖南的省会是长沙。",
    "def main(argv: list[str]) -> int:\n    for i in range(10):\n        print(i, end=' ')\n    return 0\n",
    "Numbers: 0 1 2 3 4 5 6 7 8 9 10 11 12 2024 3.14159; symbols: + - * / = < > ( ) [ ] { } # @ ! ?",
)
"""What the tokenizers of synthetic checkpoints are trained on."""


def _encoded(values: Float32Array, dtype: str) -> NDArray[Any]:
    if dtype == "bfloat16":
        return as_bfloat16_bits(values)
    return values.astype({"float32": "<f4", "float16": "<f2"}[dtype])


def _split(names: Sequence[str], shards: int) -> list[list[str]]:
    """Names in `shards` runs of nearly equal count."""
    bounds = [len(names) * i // shards for i in range(shards + 1)]
    return [list(names[low:high]) for low, high in itertools.pairwise(bounds)]


def write_safetensors(directory: Path, tensors: Mapping[str, Float32Array], dtype: str, shards: int) -> None:
    """model.safetensors, or numbered shards with their index."""
    weight_map: dict[str, str] = {}
    for number, names in enumerate(_split(list(tensors), shards), 1):
        file = "model.safetensors" if shards == 1 else f"model-{number:05}-of-{shards:05}.safetensors"
        _write_safetensors_file(directory / file, {name: _encoded(tensors[name], dtype) for name in names}, dtype)
        weight_map |= dict.fromkeys(names, file)
    _write_index(directory / "model.safetensors.index.json", weight_map, shards)


def _write_safetensors_file(path: Path, tensors: Mapping[str, NDArray[Any]], dtype: str) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, values in tensors.items():
        offsets = [position, position + values.nbytes]
        header[name] = {"dtype": SAFETENSORS_TYPES[dtype], "shape": list(values.shape), "data_offsets": offsets}
        position += values.nbytes
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(values.tobytes())


def write_torch_bin(directory: Path, tensors: Mapping[str, Float32Array], dtype: str, shards: int) -> None:
    """pytorch_model.bin as torch.save writes it, or numbered shards with their index."""
    weight_map: dict[str, str] = {}
    for number, names in enumerate(_split(list(tensors), shards), 1):
        file = "pytorch_model.bin" if shards == 1 else f"pytorch_model-{number:05}-of-{shards:05}.bin"
        _write_torch_archive(directory / file, {name: tensors[name] for name in names}, dtype)
        weight_map |= dict.fromkeys(names, file)
    _write_index(directory / "pytorch_model.bin.index.json", weight_map, shards)


def _write_index(path: Path, weight_map: Mapping[str, str], shards: int) -> None:
    if shards > 1:
        path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")


def _write_torch_archive(path: Path, tensors: Mapping[str, Float32Array], dtype: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        table = [TensorSpec(name, values.shape, dtype) for name, values in tensors.items()]
        archive.writestr("archive/data.pkl", state_dict_pickle(table))
        archive.writestr("archive/byteorder", "little")
        for index, values in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{index}", _encoded(values, dtype).tobytes())
        archive.writestr("archive/version", "3\n")


def write_tokenizer(directory: Path, kind: Literal["byte-level", "sentencepiece"], config: ModelConfig) -> None:
    """A small tokenizer, trained on `CORPUS`, with at most `config.vocab_size` tokens: unknown, begin and end first."""
    settings: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    settings["chat_template"] = (
        "{% for message in messages %}{{ '[' + message['role'] + '] ' + message['content'] + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
    )
    if kind == "byte-level":
        _write_byte_level(directory, config.vocab_size)
    else:
        _write_sentencepiece(directory, config.vocab_size)
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _write_byte_level(directory: Path, vocab_size: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocab_size, 1000),
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.save(str(directory / "tokenizer.json"))


def _write_sentencepiece(directory: Path, vocab_size: int) -> None:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in CORPUS for line in text.splitlines() * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=min(vocab_size, 600),
        byte_fallback=True,
        character_coverage=1.0,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (directory / "tokenizer.model").write_bytes(model.getvalue())
