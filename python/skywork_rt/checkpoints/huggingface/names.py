"""The names of tensors in Hugging Face checkpoints."""

from __future__ import annotations

from skywork_rt.checkpoints.tensor_names import canonical_names

__all__ = ["canonical_name", "hugging_face_name"]

_MODULES = {
    "input_norm": "input_layernorm.weight",
    "post_attention_norm": "post_attention_layernorm.weight",
    "q_proj": "self_attn.q_proj.weight",
    "k_proj": "self_attn.k_proj.weight",
    "v_proj": "self_attn.v_proj.weight",
    "o_proj": "self_attn.o_proj.weight",
    "q_bias": "self_attn.q_proj.bias",
    "k_bias": "self_attn.k_proj.bias",
    "v_bias": "self_attn.v_proj.bias",
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
    "o_bias": "self_attn.o_proj.bias",
    "gate_proj": "mlp.gate_proj.weight",
    "up_proj": "mlp.up_proj.weight",
    "down_proj": "mlp.down_proj.weight",
    "gate_bias": "mlp.gate_proj.bias",
    "up_bias": "mlp.up_proj.bias",
    "down_bias": "mlp.down_proj.bias",
}
_TOP = {"embed_tokens": "model.embed_tokens.weight", "norm": "model.norm.weight", "lm_head": "lm_head.weight"}


_canonical = canonical_names(_TOP, _MODULES)


def canonical_name(name: str) -> str | None:
    """Our name for the tensor that a Hugging Face checkpoint calls `name`; None for what is no weight of a model."""
    return _canonical(name)


def hugging_face_name(name: str) -> str:
    """The name in a Hugging Face checkpoint of the tensor that we call `name`."""
    if name in _TOP:
        return _TOP[name]
    _, layer, part = name.split(".")
    return f"model.layers.{layer}.{_MODULES[part]}"
