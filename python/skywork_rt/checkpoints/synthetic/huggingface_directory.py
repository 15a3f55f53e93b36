"""A small random checkpoint in Hugging Face's layout: what `huggingface_files` writes, together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from skywork_rt.checkpoints.model import Float32Array, ModelConfig
from skywork_rt.checkpoints.synthetic import huggingface_files
from skywork_rt.checkpoints.synthetic.source import SyntheticSource

__all__ = ["write_random_hf"]

HuggingFaceType = Literal["llama", "ministral", "mistral", "qwen2", "qwen3", "skywork", "smollm3"]
DType = Literal["float32", "float16", "bfloat16"]

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "ministral": "MinistralForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "skywork": "SkyworkForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
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
    directory.mkdir(parents=True, exist_ok=True)
    body = _hf_config(config, model_type, dtype, rope_scaling)
    (directory / "config.json").write_text(json.dumps(body, indent=2), encoding="utf-8")
    source = SyntheticSource(config, seed)
    tensors: dict[str, Float32Array] = {
        huggingface_files.hf_name(name): source.tensor(name) for name in source.tensor_names()
    }
    if layout == "safetensors":
        huggingface_files.write_safetensors(directory, tensors, dtype, shards)
    else:
        huggingface_files.write_torch_bin(directory, tensors, dtype, shards)
    if tokenizer != "none":
        huggingface_files.write_tokenizer(directory, tokenizer, config)
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
    if model_type in ("mistral", "ministral"):
        body["sliding_window"] = None
    if model_type in ("llama", "qwen3", "smollm3"):
        body["attention_bias"] = config.output_bias
    if model_type in ("llama", "smollm3"):
        body["mlp_bias"] = config.mlp_bias
    if model_type == "smollm3":
        body["no_rope_layers"] = [int(layer not in config.layers_without_rope) for layer in range(config.layers)]
    return body
