"""Makes rope.json beside it: frequencies of transformers' own functions. Run once, with transformers and torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
YARN = {"rope_type": "yarn", "original_max_position_embeddings": 4096, "rope_theta": 10000.0}

# name, parameters, head_dim, max_position_embeddings
CASES: list[tuple[str, dict[str, Any], int, int]] = [
    ("default-10000-128", {"rope_type": "default", "rope_theta": 10000.0}, 128, 4096),
    ("default-100000-64", {"rope_type": "default", "rope_theta": 100000.0}, 64, 8192),
    ("default-1000000-128", {"rope_type": "default", "rope_theta": 1000000.0}, 128, 32768),
    ("linear", {"rope_type": "linear", "factor": 2.5, "rope_theta": 10000.0}, 128, 4096),
    ("llama3", {**LLAMA3, "factor": 8.0}, 128, 131072),
    ("llama3-32", {**LLAMA3, "factor": 32.0}, 64, 131072),
    ("yarn", {**YARN, "factor": 4.0, "original_max_position_embeddings": 32768, "rope_theta": 1e6}, 128, 131072),
    (
        "yarn-betas",
        {**YARN, "factor": 40.0, "beta_fast": 24, "beta_slow": 2, "mscale": 0.8, "mscale_all_dim": 1.1},
        64,
        163840,
    ),
    ("yarn-stated", {**YARN, "factor": 2.0, "attention_factor": 1.25, "truncate": False}, 96, 8192),
    ("dynamic", {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}, 128, 2048),
]


def frequencies(parameters: dict[str, Any], head_dim: int, length: int) -> tuple[Any, float]:
    config = LlamaConfig(
        hidden_size=head_dim * 2,
        num_attention_heads=2,
        head_dim=head_dim,
        max_position_embeddings=length,
        rope_parameters=dict(parameters),
    )
    if parameters["rope_type"] == "default":
        embedding = LlamaRotaryEmbedding(config)
        return embedding.inv_freq, embedding.attention_scaling
    return ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, torch.device("cpu"))


def main() -> None:
    cases = []
    for name, parameters, head_dim, length in CASES:
        inverse, factor = frequencies(parameters, head_dim, length)
        case = {"name": name, "parameters": parameters, "head_dim": head_dim, "max_positions": length}
        case |= {"attention_factor": float(factor), "inverse_frequencies": [float(f) for f in inverse]}
        cases.append(case)
    body = {"made_with": f"transformers {transformers.__version__}, torch {torch.__version__}", "cases": cases}
    Path(__file__).with_name("rope.json").write_text(json.dumps(body, separators=(",", ":")) + "\n")


main()
