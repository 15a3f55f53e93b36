"""Random models of any shape: for tests, and to run Skywork-13B's own shape without its weights.

The numbers come from Philox in integer arithmetic, keyed by seed, tensor name and block of rows. They are the same on
every machine and version of numpy, and any row can be made without the rows before it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.export.model import Float32Array, ModelConfig, Progress, RawTensor, no_progress
from skywork_rt.export.rope import make_rope
from skywork_rt.export.tokenizer_files import TokenizerFiles

__all__ = ["PRESETS", "SyntheticSource", "preset", "random_rows", "with_changes", "write_random_hf"]

_BLOCK_ELEMENTS = 1 << 18
_EVEN_WORDS = np.uint64(0x0000FFFF0000FFFF)
_NORM_SPREAD = 0.1
_BIAS_SPREAD = 0.1


def _preset(name: str, *, theta: float = 10000.0, **shape: Any) -> ModelConfig:
    rope = make_rope("default", theta, shape["head_dim"], shape["max_length"])
    return ModelConfig(name=name, rope=rope, **shape)


PRESETS: dict[str, ModelConfig] = {
    config.name: config
    for config in (
        _preset(
            "skywork-13b",
            layers=52,
            hidden_size=4608,
            intermediate_size=12288,
            heads=36,
            kv_heads=36,
            head_dim=128,
            vocab_size=65519,
            max_length=4096,
            rms_norm_eps=1e-6,
            bos_id=1,
            pad_id=0,
            eos_ids=(2,),
        ),
        _preset(
            "llama-2-7b",
            layers=32,
            hidden_size=4096,
            intermediate_size=11008,
            heads=32,
            kv_heads=32,
            head_dim=128,
            vocab_size=32000,
            max_length=4096,
            rms_norm_eps=1e-5,
            bos_id=1,
            eos_ids=(2,),
        ),
        _preset(
            "mistral-7b",  # v0.3
            theta=1e6,
            layers=32,
            hidden_size=4096,
            intermediate_size=14336,
            heads=32,
            kv_heads=8,
            head_dim=128,
            vocab_size=32768,
            max_length=32768,
            rms_norm_eps=1e-5,
            bos_id=1,
            eos_ids=(2,),
        ),
        _preset(
            "qwen2-7b",
            theta=1e6,
            layers=28,
            hidden_size=3584,
            intermediate_size=18944,
            heads=28,
            kv_heads=4,
            head_dim=128,
            vocab_size=152064,
            max_length=32768,
            rms_norm_eps=1e-6,
            qkv_bias=True,
            eos_ids=(151643,),
        ),
        _preset(
            "smollm2-135m",
            theta=1e5,
            layers=30,
            hidden_size=576,
            intermediate_size=1536,
            heads=9,
            kv_heads=3,
            head_dim=64,
            vocab_size=49152,
            max_length=8192,
            rms_norm_eps=1e-5,
            tied_embeddings=True,
            bos_id=1,
            pad_id=2,
            eos_ids=(2,),
        ),
        _preset(
            "tiny",
            layers=2,
            hidden_size=64,
            intermediate_size=160,
            heads=4,
            kv_heads=2,
            head_dim=16,
            vocab_size=512,
            max_length=256,
            rms_norm_eps=1e-5,
            tied_embeddings=True,
            bos_id=1,
            pad_id=0,
            eos_ids=(2,),
        ),
    )
}
"""Shapes by name, as published; `tiny` is a GQA model of 0.1 M parameters."""


def preset(name: str) -> ModelConfig:
    """The shape called `name`, in letters of either case. Raises InvalidArgumentError that lists the known names."""
    if name.lower() not in PRESETS:
        raise InvalidArgumentError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    return PRESETS[name.lower()]


def random_rows(seed: int, name: str, shape: tuple[int, ...], start: int, stop: int) -> Float32Array:
    """Rows start to stop of the random tensor `name`, float32 [stop - start, ...].

    Matrices have standard deviation columns ** -0.5, norms are 1 with a spread of 0.1, biases 0 with a spread of 0.1,
    so that activations of a random model stay near 1.
    """
    if len(shape) == 1:
        vector = _normal_block(seed, name, 0, shape[0])[start:stop]
        if name.endswith("norm"):
            return np.float32(1.0) + np.float32(_NORM_SPREAD) * vector
        return np.float32(_BIAS_SPREAD) * vector
    columns = shape[1]
    block_rows = max(1, _BLOCK_ELEMENTS // columns)
    out = np.empty((stop - start, columns), np.float32)
    for block in range(start // block_rows, -(-stop // block_rows)):
        first = block * block_rows
        rows = _normal_block(seed, name, block, block_rows * columns).reshape(block_rows, columns)
        low, high = max(start, first), min(stop, first + block_rows)
        np.multiply(rows[low - first : high - first], np.float32(columns**-0.5), out=out[low - start : high - start])
    return out


def _normal_block(seed: int, name: str, block: int, count: int) -> Float32Array:
    """`count` nearly normal numbers: the sum of the four 16-bit words of a Philox output, centred and scaled.

    The tails end at 3.46 standard deviations, which suits weights.
    """
    digest = hashlib.sha256(f"{seed}/{name}/{block}".encode()).digest()
    generator = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    raw = generator.random_raw(count)
    pairs = (raw & _EVEN_WORDS) + ((raw >> np.uint64(16)) & _EVEN_WORDS)
    halves = pairs.view(np.uint32)
    total = halves[0::2] + halves[1::2]
    return (total.view(np.int32) - np.int32(2 * 65535)).astype(np.float32) * np.float32(3**0.5 / 65536)


class SyntheticSource:
    """A `Source` whose weights are made when they are asked for: no file and no memory behind it."""

    kind: Literal["synthetic"] = "synthetic"

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        self._config = config
        self._shapes = config.tensor_shapes()
        self.seed = seed

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def name(self) -> str:
        return f"{self._config.name}-seed{self.seed}"

    def sha256(self, progress: Progress = no_progress) -> str | None:
        del progress
        return None

    def tensor_names(self) -> Sequence[str]:
        return list(self._shapes)

    def tensor(self, name: str) -> Float32Array:
        shape = self._shapes[name]
        return random_rows(self.seed, name, shape, 0, shape[0])

    def rows(self, name: str, start: int, stop: int) -> Float32Array:
        return random_rows(self.seed, name, self._shapes[name], start, stop)

    def raw(self, name: str) -> RawTensor | None:
        del name
        return None

    def tokenizer(self) -> TokenizerFiles | None:
        return None

    def generation_config(self) -> dict[str, Any] | None:
        return None


HuggingFaceType = Literal["llama", "mistral", "qwen2", "skywork"]
DType = Literal["float32", "float16", "bfloat16"]

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "skywork": "SkyworkForCausalLM",
}


def write_random_hf(
    directory: Path,
    config: ModelConfig,
    seed: int = 0,
    *,
    model_type: HuggingFaceType = "llama",
    dtype: DType = "float32",
    layout: Literal["safetensors", "bin"] = "safetensors",
    shards: int = 1,
    tokenizer: Literal["byte-level", "sentencepiece", "none"] = "byte-level",
    rope_scaling: dict[str, Any] | None = None,
) -> Path:
    """Writes a small random checkpoint in Hugging Face's layout and returns its directory.

    The float32 weights equal those of ``SyntheticSource(config, seed)``; smaller dtypes round them. `rope_scaling` goes
    into config.json as it is (the caller's `config.rope` is not consulted beyond its theta). The tokenizer is trained
    on a few built-in sentences and has at most `config.vocab_size` tokens.
    """
    from skywork_rt.export import synth_files  # the writers need packages that SyntheticSource does not

    directory.mkdir(parents=True, exist_ok=True)
    body = _hf_config(config, model_type, dtype, rope_scaling)
    (directory / "config.json").write_text(json.dumps(body, indent=2), encoding="utf-8")
    source = SyntheticSource(config, seed)
    tensors: dict[str, Float32Array] = {
        synth_files.hf_name(name): source.tensor(name) for name in source.tensor_names()
    }
    if layout == "safetensors":
        synth_files.write_safetensors(directory, tensors, dtype, shards)
    else:
        synth_files.write_torch_bin(directory, tensors, dtype, shards)
    if tokenizer != "none":
        synth_files.write_tokenizer(directory, tokenizer, config)
    return directory


def _hf_config(
    config: ModelConfig, model_type: HuggingFaceType, dtype: DType, rope_scaling: dict[str, Any] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "architectures": [_ARCHITECTURES[model_type]],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_length,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope.theta,
        "rope_scaling": rope_scaling,
        "tie_word_embeddings": config.tied_embeddings,
        "bos_token_id": config.bos_id,
        "pad_token_id": config.pad_id,
        "eos_token_id": list(config.eos_ids) if len(config.eos_ids) != 1 else config.eos_ids[0],
        "torch_dtype": dtype,
    }
    if model_type == "skywork":  # as published: one key/value head a head, and code that is never run
        body["auto_map"] = {"AutoModelForCausalLM": "modeling_skywork.SkyworkForCausalLM"}
    if model_type == "mistral":
        body["sliding_window"] = None
    return body


def with_changes(config: ModelConfig, **changes: Any) -> ModelConfig:
    """A copy of `config` with some fields replaced, its rope recomputed when the head size changed."""
    head_dim = changes.get("head_dim", config.head_dim)
    if head_dim != config.head_dim and "rope" not in changes:
        changes["rope"] = make_rope("default", config.rope.theta, head_dim, config.max_length)
    return dataclasses.replace(config, **changes)
