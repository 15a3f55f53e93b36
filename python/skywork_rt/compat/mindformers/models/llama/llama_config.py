"""LlamaConfig: `model.model_config` of a MindFormers YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skywork_rt.compat.mindformers.tools.register.config import DictConfig, MindFormerConfig
from skywork_rt.compat.notices import ignored
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["LlamaConfig"]

_DEFAULTS: dict[str, Any] = {
    "batch_size": 1,
    "seq_length": 2048,
    "hidden_size": 4096,
    "num_layers": 32,
    "num_heads": 32,
    "n_kv_heads": None,
    "max_position_embedding": None,
    "intermediate_size": None,
    "vocab_size": 32000,
    "multiple_of": 256,
    "ffn_dim_multiplier": None,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "ignore_token_id": -100,
    "theta": 10000.0,
    "qkv_has_bias": False,
    "qkv_concat": False,
    "attn_proj_has_bias": False,
    "tie_word_embeddings": False,
    "extend_method": "None",
    "scaling_factor": 1.0,
    "use_past": False,
    "checkpoint_name_or_path": "",
    "repetition_penalty": 1.0,
    "max_decode_length": 1024,
    "top_k": 5,
    "top_p": 1.0,
    "do_sample": True,
}
"""What shapes the model and its generation, with MindFormers' defaults."""

_USE = ("batch_size", "use_past", "checkpoint_name_or_path", "repetition_penalty", "max_decode_length", "top_k",
        "top_p", "do_sample", "ignore_token_id", "qkv_concat")  # fmt: skip
"""Those of them that do not change what a checkpoint is exported to."""

_ELSEWHERE = {
    "compute_dtype": "float16",
    "layernorm_compute_type": "float32",
    "softmax_compute_type": "float32",
    "rotary_dtype": "float32",
    "param_init_type": "float16",
    "residual_dtype": None,
    "embedding_init_type": None,
    "parallel_config": None,
    "moe_config": None,
    "is_dynamic": False,
    "use_rope_slice": False,
    "use_flash_attention": False,
    "use_ring_attention": False,
    "use_attn_mask_compression": False,
    "use_eod_attn_mask_compression": False,
    "use_kvcache_op": False,
    "is_flexible_shape": False,
    "use_prompt_flash_attention": False,
    "use_paged_attention": False,
    "parallel_optimizer": False,
    "fine_grain_interleave": 1,
    "pp_interleave_num": 1,
    "offset": 0,
    "init_method_std": 0.01,
    "block_size": 16,
    "num_blocks": 512,
    "llm_backend": "",
    "fused_rms_norm": True,
    "input_sliced_sig": False,
    "rmsnorm_compute_2d": False,
    "chunk_prefill": False,
    "calculate_per_token_loss": False,
    "pipeline_stage": None,
    "return_hidden_states": False,
    "parallel_decoding_params": None,
    "type": "LlamaConfig",
    "model_type": "llama",
    "model_name": "",
    "is_encoder_decoder": False,
    "is_sample_acceleration": False,
    "quant_config": None,
    "pet_config": None,
}
"""What concerns training or MindSpore's own execution: kept, and without effect here."""

_NOTHING_EVEN_THERE = ("pretrain_seqlen", "compute_in_2d", "use_past_shard", "is_sample_acceleration")
_GENERATION = ("max_length", "max_new_tokens", "min_length", "min_new_tokens", "num_beams", "temperature")


class LlamaConfig(DictConfig):
    """The shape of a model, where its weights are, and defaults for generating.

    checkpoint_name_or_path: a .ckpt or .safetensors of MindSpore, a Hugging Face directory, a GGUF file, or a bundle.
    An unknown name raises InvalidArgumentError with the nearest one; a model with parts that this runtime lacks is
    refused when it is opened.
    """

    def __init__(self, **kwargs: Any) -> None:
        refuse_unknown("LlamaConfig", kwargs, [*_DEFAULTS, *_ELSEWHERE, *_NOTHING_EVEN_THERE, *_GENERATION])
        for name in _NOTHING_EVEN_THERE:
            if kwargs.get(name):
                ignored("LlamaConfig", name, "it was without effect in MindFormers too")
        if kwargs.get("quant_config"):
            raise UnsupportedError(
                "LlamaConfig: quant_config is not supported; quantise the float checkpoint instead: skywork-rt export "
                "CKPT BUNDLE --weights int8, and give the bundle as checkpoint_name_or_path"
            )
        super().__init__(**{**_DEFAULTS, **_ELSEWHERE, **kwargs})
        self._given = frozenset(kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_given":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @classmethod
    def from_pretrained(cls, yaml_name_or_path: str, **kwargs: Any) -> LlamaConfig:
        """Of a YAML with model.model_config. A model's name, which MindFormers would download, is refused."""
        if not Path(yaml_name_or_path).exists():
            raise InvalidArgumentError(
                f"LlamaConfig.from_pretrained: {yaml_name_or_path} does not exist; nothing is downloaded by name: give "
                "the path of a YAML"
            )
        section = (MindFormerConfig(yaml_name_or_path).model or {}).get("model_config")
        if not section:
            raise InvalidArgumentError(f"LlamaConfig.from_pretrained: {yaml_name_or_path} has no model.model_config")
        return cls(**{**section, **kwargs})

    def section(self) -> dict[str, Any]:
        """`model.model_config` for our readers of checkpoints: what says which model it is, and nothing else."""
        shape = {name: self[name] for name in _DEFAULTS if name not in _USE and self.get(name) is not None}
        return {**shape, "type": "LlamaConfig", "moe_config": self.get("moe_config")}

    def given(self, name: str) -> bool:
        """Whether the caller chose this value, or it is a default."""
        return name in self._given
