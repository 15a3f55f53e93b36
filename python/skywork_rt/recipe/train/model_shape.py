"""The shape of the model that `model.model_config` describes, and the tensors that its checkpoint must have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from skywork_rt.checkpoints.mindspore.names import mindspore_name
from skywork_rt.checkpoints.model import ModelConfig, RopeConfig
from skywork_rt.errors import CheckpointError, InvalidArgumentError

__all__ = ["expected_tensors", "lora_tensors", "model_shape"]


def model_shape(config: Mapping[str, Any]) -> ModelConfig:
    """Raises InvalidArgumentError when the numbers of `model.model_config` cannot belong to one model.

    Defaults are those of MindFormers' LlamaConfig.
    """
    hidden, heads = int(config.get("hidden_size") or 4096), int(config.get("num_heads") or 32)
    if hidden % heads:
        raise InvalidArgumentError(f"model.model_config: hidden_size {hidden} is not a multiple of num_heads {heads}")
    head_dim = hidden // heads
    theta = float(config.get("theta") or 10000.0)
    frequencies = tuple(theta ** (-2 * index / head_dim) for index in range(head_dim // 2))
    try:
        return ModelConfig(
            name=str(config.get("model_type") or "llama"),
            layers=int(config.get("num_layers") or 32),
            hidden_size=hidden,
            intermediate_size=_intermediate_size(config, hidden),
            heads=heads,
            kv_heads=int(config.get("n_kv_heads") or heads),
            head_dim=head_dim,
            vocab_size=int(config.get("vocab_size") or 32000),
            max_length=int(config.get("seq_length") or 2048),
            rms_norm_eps=float(config.get("rms_norm_eps") or 1e-5),
            rope=RopeConfig("default", theta, frequencies),
            qkv_bias=bool(config.get("qkv_has_bias")),
            tied_embeddings=bool(config.get("tie_word_embeddings")),
        )
    except CheckpointError as error:
        raise InvalidArgumentError(f"model.model_config: {error}") from error


def _intermediate_size(config: Mapping[str, Any], hidden: int) -> int:
    """As MindFormers' LlamaFeedForward computes it where it is not given: two thirds of four times hidden_size, times
    ffn_dim_multiplier, rounded up to multiple_of."""
    if config.get("intermediate_size"):
        return int(config["intermediate_size"])
    wide = 4 * hidden
    if config.get("ffn_dim_multiplier"):
        wide = int((config["ffn_dim_multiplier"] + 0.01) * wide)
    multiple = int(config.get("multiple_of") or 256)
    return multiple * ((int(2 * wide / 3) + multiple - 1) // multiple)


def expected_tensors(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """MindFormers' names and shapes of the model's own weights, without LoRA."""
    return {mindspore_name(name): shape for name, shape in model_shape(config).tensor_shapes().items()}


def lora_tensors(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the LoRA matrices that `pet_config` adds; empty without one.

    MindFormers matches `target_modules` with the beginning of a layer's own name (wq), as `re.match` does.
    """
    pet = config.get("pet_config")
    if not pet:
        return {}
    rank = int(pet.get("lora_rank") or 8)
    try:
        pattern = re.compile(str(pet.get("target_modules")))
    except re.error as error:
        raise InvalidArgumentError(f"pet_config.target_modules is no regular expression: {error}") from error
    added: dict[str, tuple[int, ...]] = {}
    for name, shape in expected_tensors(config).items():
        layer = name.removesuffix(".weight")
        if len(shape) == 2 and name.endswith(".weight") and ".layers." in name and pattern.match(layer.split(".")[-1]):
            added[f"{layer}.mindpet_delta_lora_a"] = (rank, shape[1])
            added[f"{layer}.mindpet_delta_lora_b"] = (shape[0], rank)
    if not added:
        raise InvalidArgumentError(
            f"pet_config.target_modules {pattern.pattern!r} matches no layer; there are wq, wk, wv, wo, w1, w2 and w3"
        )
    return added
