"""Shapes of models by name, and shapes that differ from them a little."""

from __future__ import annotations

import dataclasses
from typing import Any

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.rope import make_rope
from skywork_rt.errors import InvalidArgumentError

__all__ = ["PRESETS", "preset", "with_changes"]


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


def with_changes(config: ModelConfig, **changes: Any) -> ModelConfig:
    """A copy of `config` with some fields replaced, its rope recomputed when the head size changed."""
    head_dim = changes.get("head_dim", config.head_dim)
    if head_dim != config.head_dim and "rope" not in changes:
        changes["rope"] = make_rope("default", config.rope.theta, head_dim, config.max_length)
    return dataclasses.replace(config, **changes)
