"""Small GGUF files of every architecture and rope scaling that is read, to compare with another runtime's logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checkpoints import GgufBuilder, family

IDS = [5, 9, 300, 44, 17, 88, 201, 450, 33, 2, 77, 123, 9, 8, 7, 6, 250, 251, 252, 60] * 2

_SHAPE = {"hidden_size": 128, "heads": 4, "kv_heads": 2, "head_dim": 32, "intermediate_size": 256}
_YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}

#: Name to architecture, parts of the model, metadata.
SHAPES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama": ("llama", {}, {}),
    "llama-bias": ("llama", {"qkv_bias": True, "output_bias": True}, {}),
    "qwen2": ("qwen2", {}, {}),
    "qwen3": ("qwen3", {}, {}),
    "qwen3-wide-heads": ("qwen3", {"head_dim": 64}, {}),
    "smollm3": ("smollm3", {}, {}),
    "linear": ("llama", {}, {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "linear-untyped": ("llama", {}, {"rope.scaling.factor": 4.0}),
    "linear-attn-factor": ("llama", {}, {"rope.scaling.factor": 4.0, "rope.scaling.attn_factor": 1.5}),
    "yarn": ("llama", {}, _YARN | {"rope.scaling.original_context_length": 64}),
    "yarn-no-original": ("llama", {}, _YARN),
    "yarn-attn-factor": ("llama", {}, _YARN | {"rope.scaling.attn_factor": 0.5}),
}


def write_shape(name: str, directory: Path) -> Path:
    """Writes the file `name` without a tokenizer, in float32."""
    architecture, parts, metadata = SHAPES[name]
    builder = GgufBuilder(family(architecture, **_SHAPE | parts), architecture)
    builder.metadata |= {
        "vocab_size": builder.config.vocab_size,
        "rope.dimension_count": builder.config.head_dim,
        **metadata,
    }
    builder.tokenizer = {"model": "no_vocab"}
    return builder.write(directory / f"{name}.gguf")
