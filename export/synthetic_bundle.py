"""A whole bundle of random weights: a large model's shape, speed and memory without the model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.tokenizers.byte_level import CHARACTER_OF_BYTE
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.export.bundle_writer import BundleWriter, check_output
from skywork_rt.export.quantise import RANDOM_WEIGHTS, largest_weights_bytes, write_random_weights
from skywork_rt.support.atomic_directory import AtomicDirectory
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["number_tokenizer", "write_random_bundle"]

_SPARE_BYTES = 16 << 20


def write_random_bundle(
    out: Path | str,
    config: ModelConfig,
    weights: Sequence[str] = ("int4",),
    seed: int = 0,
    *,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Writes the bundle `out` for the native backend: random weights of the model `config`, and `number_tokenizer`.

    The same seed gives the same bytes. Needs some 100 MB of memory whatever the shape. `weights` are any of
    `RANDOM_WEIGHTS`; the other arguments are as in `export`.

    Raises InvalidArgumentError for a wrong argument or a place that is taken, CapacityError when the disk is too full,
    both before anything is written.
    """
    out = Path(out)
    _check_weights(weights)
    if not 0 <= seed < 2**63:
        raise InvalidArgumentError(f"seed is {seed}, but must be from 0 to 2**63 - 1")
    check_output(out, overwrite)
    tokenizer = number_tokenizer(config)
    with AtomicDirectory(out, overwrite=overwrite) as directory:
        directory.require_space(sum(largest_weights_bytes(config, name) for name in weights) + _SPARE_BYTES)
        source = {"kind": "synthetic", "name": f"{config.name}-seed{seed}", "sha256": None}
        writer = BundleWriter(directory, config, source)
        writer.add_tokenizer(tokenizer)
        for name in weights:
            file = f"weights-{name}.safetensors"
            write_random_weights(config, name, writer.path / file, seed, progress)
            writer.add_weights(name, file)
        writer.finish(progress)
    return out


def number_tokenizer(config: ModelConfig) -> TokenizerFiles:
    """A byte-level tokenizer for ids that mean nothing: text goes in byte by byte, and every id comes out as text.

    The ids that `config` names as bos, eos and pad are special; the first 256 others are the bytes; the rest read
    ` <id>`, so that a random model's output is its token ids. Raises InvalidArgumentError for a vocabulary too small.
    """
    from skywork_rt.checkpoints.tokenizers.tokenizer_json import tokenizer_json_files

    special = sorted({index for index in (config.bos_id, config.pad_id, *config.eos_ids) if index is not None})
    ordinary = [index for index in range(config.vocab_size) if index not in special]
    if len(ordinary) < len(CHARACTER_OF_BYTE):
        raise InvalidArgumentError(
            f"a vocabulary of {config.vocab_size} has no room for 256 bytes beside {len(special)} special tokens"
        )
    bytes_first = dict(zip(CHARACTER_OF_BYTE.values(), ordinary, strict=False))
    numbers = {f"{CHARACTER_OF_BYTE[ord(' ')]}<{index}>": index for index in ordinary[len(CHARACTER_OF_BYTE) :]}
    body = {
        "version": "1.0",
        "added_tokens": [_special_token(index) for index in special],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {f"<|{index}|>": index for index in special} | bytes_first | numbers,
            "merges": [],
        },
    }
    return dataclasses.replace(
        tokenizer_json_files(json.dumps(body, ensure_ascii=False)),
        prefix_ids=() if config.bos_id is None else (config.bos_id,),
        bos_id=config.bos_id,
        pad_id=config.pad_id,
        eos_ids=config.eos_ids,
    )


def _special_token(index: int) -> dict[str, object]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": f"<|{index}|>", "special": True, **flags}


def _check_weights(weights: Sequence[str]) -> None:
    unknown = [name for name in weights if name not in RANDOM_WEIGHTS]
    if unknown or not weights or len(set(weights)) != len(weights):
        given = ", ".join(weights) or "none"
        raise InvalidArgumentError(f"weights are {given}; give one or more of {', '.join(RANDOM_WEIGHTS)}, each once")
