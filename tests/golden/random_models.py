"""Small random models whose weights are made from a seed, so that golden files need to hold none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.rope import make_rope

SEED = 20261124


@dataclass(frozen=True)
class Case:
    """A model, its `model_type` at Hugging Face, and the rope scaling that its config.json would state."""

    config: ModelConfig
    model_type: Literal["llama", "qwen2"] = "llama"
    rope_scaling: dict[str, Any] | None = None


def _case(name: str, *, rope_scaling: dict[str, Any] | None = None, qkv_bias: bool = False, **changes: Any) -> Case:
    shape: dict[str, Any] = {
        "layers": 2, "hidden_size": 64, "intermediate_size": 160, "heads": 4, "kv_heads": 2, "head_dim": 16,
        "vocab_size": 512, "max_length": 256, "rms_norm_eps": 1e-5, "tied_embeddings": True, "bos_id": 1, "pad_id": 0,
        "eos_ids": (2,),
    } | changes  # fmt: skip
    kind = rope_scaling["rope_type"] if rope_scaling else "default"
    rope = make_rope(kind, 10000.0, shape["head_dim"], shape["max_length"], rope_scaling)
    config = ModelConfig(name=name, rope=rope, qkv_bias=qkv_bias, **shape)
    return Case(config, "qwen2" if qkv_bias else "llama", rope_scaling)


CASES: dict[str, Case] = {
    "mha": _case("mha", kv_heads=4),
    "gqa": _case("gqa", heads=6, kv_heads=2, hidden_size=96),
    "qkv-bias": _case("qkv-bias", qkv_bias=True),
    "untied": _case("untied", tied_embeddings=False, rms_norm_eps=1e-6),
    # head_dim is not hidden_size / heads
    "wide-heads": _case("wide-heads", head_dim=32),
    # Skywork-13B's proportions: FFN 8/3 of the hidden size, MHA, untied, its prime vocabulary
    "skywork-shape": _case(
        "skywork-shape", hidden_size=144, intermediate_size=384, heads=9, kv_heads=9, vocab_size=65519,
        rms_norm_eps=1e-6, tied_embeddings=False,
    ),
    "rope-linear": _case("rope-linear", rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "rope-llama3": _case(
        "rope-llama3",
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 64},
    ),
    "rope-yarn": _case(
        "rope-yarn",
        rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
                      "beta_fast": 32.0, "beta_slow": 1.0},
    ),
}  # fmt: skip
