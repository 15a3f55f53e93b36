"""The names of tensors in checkpoints of MindFormers (1.0 to 1.8, `LlamaForCausalLM`)."""

from __future__ import annotations

import difflib
import re

from skywork_rt.checkpoints.tensor_names import canonical_names
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = [
    "CONCATENATED",
    "canonical_name",
    "check_known",
    "is_training_state",
    "lora_factor",
    "mindspore_name",
    "moment_of",
]

_MODULES = {
    "input_norm": "attention_norm.weight",
    "post_attention_norm": "ffn_norm.weight",
    "q_proj": "attention.wq.weight",
    "k_proj": "attention.wk.weight",
    "v_proj": "attention.wv.weight",
    "o_proj": "attention.wo.weight",
    "q_bias": "attention.wq.bias",
    "k_bias": "attention.wk.bias",
    "v_bias": "attention.wv.bias",
    "gate_proj": "feed_forward.w1.weight",
    "up_proj": "feed_forward.w3.weight",
    "down_proj": "feed_forward.w2.weight",
}
_TOP = {
    "embed_tokens": "model.tok_embeddings.embedding_weight",
    "norm": "model.norm_out.weight",
    "lm_head": "lm_head.weight",
}
_canonical = canonical_names(_TOP, _MODULES)

# The states of MindSpore's and MindFormers' optimizers that have the shape of a weight, before its name.
_MOMENT = re.compile(
    r"(adam_m|adam_v|moment1|moment2|moments|moment|exp_avg|exp_avg_sq|accu_grads|max_exp_avg_sq)\.(.+)"
)
# What MindFormers' CheckpointMonitor, the step cell and the optimizers keep beside, and the caches of `use_past`.
_STATE = re.compile(
    r"scale_sense|loss_scale|global_step|current_iterator_step|last_overflow_iterator_step|epoch_num|step_num"
    r"|global_batch_size|learning_rate|weight_decay|beta[12]_power|network\.(phi|scale).*|current_step|accu_overflow"
    r"|growth_counter|.*\.kvcache_mgr\.(key|value)_past|.*\.paged_attention_mgr\.(key|value)_cache"
)

_LORA = re.compile(r"(.+)\.mindpet_delta_lora_([abAB])")

CONCATENATED = re.compile(r"model\.layers\.\d+\.(attention\.w_qkv\.(weight|bias)|feed_forward\.w_gate_hidden\.weight)")
"""Matrices that MindFormers' `qkv_concat` joins."""


def mindspore_name(name: str) -> str:
    """The name in a MindFormers checkpoint of the tensor that we call `name`, one of `ModelConfig.tensor_shapes`.

    Raises UnsupportedError for a part that MindFormers' LlamaForCausalLM does not have.
    """
    if name in _TOP:
        return _TOP[name]
    layers, _, rest = name.partition(".")
    layer, _, part = rest.partition(".")
    if layers != "layers" or not layer.isdecimal() or part not in _MODULES:
        raise UnsupportedError(
            f"the model has the part {name}, for which MindFormers' LlamaForCausalLM has no place; a checkpoint of "
            "MindSpore cannot hold it"
        )
    return f"model.layers.{layer}.{_MODULES[part]}"


def canonical_name(name: str) -> str | None:
    """Our name for the tensor that a MindFormers checkpoint calls `name`; None for what is no weight of a model."""
    return _canonical(name)


def moment_of(name: str) -> str | None:
    """The weight whose optimizer state `name` is, as adam_m.model.norm_out.weight; None for all else."""
    match = _MOMENT.fullmatch(name)
    return match[2] if match else None


def is_training_state(name: str) -> bool:
    """Whether `name` is of the optimizer, the loss scale, counters of steps or a cache, and no weight of the model."""
    return moment_of(name) is not None or _STATE.fullmatch(name) is not None


def lora_factor(name: str) -> tuple[str, str] | None:
    """The layer and "a" or "b" when `name` is a factor of a low-rank update; its optimizer state is none."""
    match = None if is_training_state(name) else _LORA.fullmatch(name)
    return (match[1], match[2].lower()) if match else None


def check_known(name: str, where: str, *, lora: bool = False) -> None:
    """Raises CheckpointError for a name that no parameter of MindFormers' LlamaForCausalLM has, with the nearest one.

    `lora`: whether factors of low-rank updates are known.
    """
    factor = lora_factor(name) is not None
    if canonical_name(name) or CONCATENATED.fullmatch(name) or is_training_state(name) or (lora and factor):
        return
    hint = "; low-rank updates (LoRA) are merged with convert --merge-lora" if factor else _nearest(name)
    raise CheckpointError(f"{where}: tensor {name} does not belong to MindFormers' LlamaForCausalLM{hint}")


def _nearest(name: str) -> str:
    layer = re.match(r"model\.layers\.(\d+)\.", name)
    prefix = f"model.layers.{layer[1] if layer else 0}."
    near = difflib.get_close_matches(
        name, [*_TOP.values(), *(prefix + part for part in _MODULES.values())], n=1, cutoff=0.5
    )
    return f"; the nearest known name is {near[0]}" if near else ""
