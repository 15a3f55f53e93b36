"""Small random models whose weights are made from a seed, so that golden files need to hold none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.rope import make_rope

SEED = 20261124

ModelType = Literal["llama", "mistral", "qwen2", "qwen3", "smollm3"]


@dataclass(frozen=True)
class Case:
    """A model, its `model_type` at Hugging Face, and the rope scaling that its config.json would state.

    Without `lite` it is not made for Lite: its graphs would be another's, and each costs seconds of MindSpore.
    """

    config: ModelConfig
    model_type: ModelType = "llama"
    rope_scaling: dict[str, Any] | None = None
    lite: bool = True


def _case(
    name: str,
    model_type: ModelType = "llama",
    *,
    rope_scaling: dict[str, Any] | None = None,
    lite: bool = True,
    **changes: Any,
) -> Case:
    shape: dict[str, Any] = {
        "layers": 2, "hidden_size": 64, "intermediate_size": 160, "heads": 4, "kv_heads": 2, "head_dim": 16,
        "vocab_size": 512, "max_length": 256, "rms_norm_eps": 1e-5, "tied_embeddings": True, "bos_id": 1, "pad_id": 0,
        "eos_ids": (2,),
    } | changes  # fmt: skip
    kind = rope_scaling["rope_type"] if rope_scaling else "default"
    rope = make_rope(kind, 10000.0, shape["head_dim"], shape["max_length"], rope_scaling)
    return Case(ModelConfig(name=name, rope=rope, **shape), model_type, rope_scaling, lite)


def _longrope(original: int) -> dict[str, Any]:
    return {
        "rope_type": "longrope", "original_max_position_embeddings": original,
        "short_factor": [1.0, 1.0, 1.1, 1.2, 1.4, 1.7, 2.0, 2.4],
        "long_factor": [1.0, 1.5, 2.0, 4.0, 7.0, 9.0, 12.0, 16.0],
    }  # fmt: skip


CASES: dict[str, Case] = {
    "mha": _case("mha", kv_heads=4),
    "gqa": _case("gqa", heads=6, kv_heads=2, hidden_size=96),
    "qkv-bias": _case("qkv-bias", "qwen2", qkv_bias=True),
    "untied": _case("untied", tied_embeddings=False, rms_norm_eps=1e-6),
    # head_dim is not hidden_size / heads
    "wide-heads": _case("wide-heads", head_dim=32),
    "mistral": _case("mistral", "mistral", head_dim=32, kv_heads=1, tied_embeddings=False, lite=False),
    # attention_bias and mlp_bias of LlamaForCausalLM
    "biases": _case("biases", qkv_bias=True, output_bias=True, mlp_bias=True),
    "qwen3": _case("qwen3", "qwen3", qk_norm=True, head_dim=32, tied_embeddings=False, rms_norm_eps=1e-6),
    "qwen3-bias": _case(
        "qwen3-bias", "qwen3", qk_norm=True, qkv_bias=True, output_bias=True, heads=6, kv_heads=2, head_dim=10,
        lite=False,
    ),
    "smollm3": _case("smollm3", "smollm3", layers=4, layers_without_rope=(3,)),
    "smollm3-bias": _case(
        "smollm3-bias", "smollm3", layers=3, layers_without_rope=(0, 1), qkv_bias=True, output_bias=True, mlp_bias=True,
        lite=False,
    ),
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
    # Over the original length every position has the long factors, up to it the short ones.
    "rope-longrope": _case("rope-longrope", lite=False, rope_scaling=_longrope(16)),
    "rope-longrope-short": _case("rope-longrope-short", lite=False, rope_scaling=_longrope(256)),
}  # fmt: skip
