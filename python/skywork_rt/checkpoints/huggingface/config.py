"""config.json of a Hugging Face directory -> ModelConfig, refusing by name what a Llama structure does not have."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skywork_rt.checkpoints.checkpoint import choose_max_length
from skywork_rt.checkpoints.model import ModelConfig, RopeConfig
from skywork_rt.checkpoints.rope import make_rope
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["MODEL_TYPES", "read_config", "token_ids"]

_log = logging.getLogger("skywork_rt.export")


@dataclass(frozen=True)
class _Family:
    architectures: tuple[str, ...]
    qkv_bias: bool = False
    default_kv_heads: int | None = None  # None: as many as heads
    default_sliding_window: int | None = None


MODEL_TYPES: dict[str, _Family] = {
    "llama": _Family(("LlamaForCausalLM", "LLaMAForCausalLM")),
    "mistral": _Family(("MistralForCausalLM",), default_kv_heads=8, default_sliding_window=4096),
    "qwen2": _Family(("Qwen2ForCausalLM",), qkv_bias=True),
    "skywork": _Family(("SkyworkForCausalLM",)),
}
"""model_type values that have the Llama structure. Code that a checkpoint brings (auto_map) is never run."""

# Parts of other models: a value other than the neutral one changes the result, so it is refused by name.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention_bias": (None, False),
    "mlp_bias": (None, False),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "clip_qkv": (None,),
    "qk_layernorm": (None, False),
    "use_qk_norm": (None, False),
    "logit_scale": (None, 1, 1.0),
    "logits_scaling": (None, 1, 1.0),
    "embedding_multiplier": (None, 1, 1.0),
    "residual_multiplier": (None, 1, 1.0),
    "attention_multiplier": (None,),
    "partial_rotary_factor": (None, 1, 1.0),
    "rope_interleaved": (None, False),
    "num_experts": (None, 0, 1, [], [1]),
    "num_local_experts": (None, 0, 1),
    "n_routed_experts": (None, 0),
    "num_nextn_predict_layers": (None, 0),
    "quantization_config": (None,),
    "is_decoder": (None, True),
    "add_cross_attention": (None, False),
}


def read_config(
    config: Mapping[str, Any],
    name: str,
    *,
    max_length: int | None = None,
    generation: Mapping[str, Any] | None = None,
    tokenizer: TokenizerFiles | None = None,
) -> ModelConfig:
    """Checks config.json and returns the model's shape.

    `generation` is generation_config.json. What ends a sequence is the union of what it, config.json and the
    tokenizer name, in this order; bos and pad are the tokenizer's, or else the files'. Raises UnsupportedError for what
    this runtime has no part for, CheckpointError for missing or impossible values, InvalidArgumentError for a
    `max_length` that the model was not made for.
    """
    family = _family(config)
    _refuse_foreign_parts(config)
    numbers = _Numbers(config)
    heads, hidden = numbers.positive("num_attention_heads"), numbers.positive("hidden_size")
    head_dim = numbers.optional_positive("head_dim") or _head_dim(hidden, heads)
    stated = numbers.positive("max_position_embeddings")
    window = _sliding_window(config, family, numbers)
    length = choose_max_length(
        max_length, stated, window, f"the sliding window, which is not implemented beyond {window}"
    )
    if window is not None and window < stated and max_length is None:
        _log.warning("max_length of %s is %d, its sliding window, instead of %d", name, length, stated)
    ids = (generation or {}, config)
    vocab_size = numbers.positive("vocab_size")
    return ModelConfig(
        name=name,
        layers=numbers.positive("num_hidden_layers"),
        hidden_size=hidden,
        intermediate_size=numbers.positive("intermediate_size"),
        heads=heads,
        kv_heads=numbers.optional_positive("num_key_value_heads") or family.default_kv_heads or heads,
        head_dim=head_dim,
        vocab_size=vocab_size,
        max_length=length,
        rms_norm_eps=numbers.real("rms_norm_eps", 1e-6),
        rope=_rope(config, head_dim, stated),
        qkv_bias=family.qkv_bias,
        tied_embeddings=numbers.flag("tie_word_embeddings"),
        bos_id=_own_id(tokenizer.bos_id if tokenizer else None, vocab_size, ids, "bos_token_id"),
        pad_id=_own_id(tokenizer.pad_id if tokenizer else None, vocab_size, ids, "pad_token_id"),
        eos_ids=_ends(ids, tokenizer, vocab_size),
    )


def _family(config: Mapping[str, Any]) -> _Family:
    model_type = config.get("model_type")
    family = MODEL_TYPES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise UnsupportedError(f"model_type {model_type!r} is not supported; known are {', '.join(MODEL_TYPES)}")
    architectures = config.get("architectures")
    if architectures is None:
        return family
    if not isinstance(architectures, list) or not set(map(str, architectures)) & set(family.architectures):
        raise UnsupportedError(
            f"architectures {architectures!r} is not supported for model_type {model_type!r}; "
            f"expected {' or '.join(family.architectures)}"
        )
    return family


def _refuse_foreign_parts(config: Mapping[str, Any]) -> None:
    for key, neutral in _NEUTRAL.items():
        value = config.get(key)
        if value not in neutral:
            hint = {
                "attention_bias": " (it adds a bias to the output projection, which the runtime has no part for)",
                "quantization_config": " (export the unquantised checkpoint and let export quantise it)",
            }.get(key, "")
            raise UnsupportedError(f"config.json has {key} = {_short(value)}, which is not supported{hint}")
    for key in config:
        if key.startswith("moe_") and config[key] not in (None, False, 0):
            raise UnsupportedError(f"config.json has {key}: mixtures of experts are not supported")
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise UnsupportedError(f"hidden_act {activation!r} is not supported; expected 'silu'")


def _head_dim(hidden: int, heads: int) -> int:
    if hidden % heads != 0:
        raise CheckpointError(f"hidden_size {hidden} is not a multiple of {heads} attention heads")
    return hidden // heads


def _sliding_window(config: Mapping[str, Any], family: _Family, numbers: _Numbers) -> int | None:
    if config.get("model_type") == "qwen2":
        # Qwen2 states a window that is off unless it says otherwise, and then only from some layer on.
        if not numbers.flag("use_sliding_window"):
            return None
        if config.get("max_window_layers", 28) >= numbers.positive("num_hidden_layers"):
            return None
        return numbers.optional_positive("sliding_window") or 4096
    if config.get("model_type") != "mistral":
        return numbers.optional_positive("sliding_window")
    if "sliding_window" not in config:
        return family.default_sliding_window
    return numbers.optional_positive("sliding_window")


def _rope(config: Mapping[str, Any], head_dim: int, stated_length: int) -> RopeConfig:
    """transformers 5 writes rope_parameters with theta inside; before, rope_scaling beside rope_theta."""
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(parameters, dict):
        raise CheckpointError(f"rope scaling is {_short(parameters)}; expected an object")
    if any(isinstance(value, dict) for value in parameters.values()):
        raise UnsupportedError("rope_parameters differ between kinds of layers, which is not supported")
    if parameters.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise UnsupportedError(f"partial_rotary_factor {parameters['partial_rotary_factor']} is not supported")
    rope_type = parameters.get("rope_type", parameters.get("type", "default"))
    theta = _Numbers(parameters).real("rope_theta", _Numbers(config).real("rope_theta", 10000.0))
    if "original_max_position_embeddings" in config:
        original = config["original_max_position_embeddings"]
        parameters = {**parameters, "original_max_position_embeddings": original}
    return make_rope(str(rope_type), theta, head_dim, stated_length, parameters)


class _Numbers:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def positive(self, key: str) -> int:
        value = self.optional_positive(key)
        if value is None:
            raise CheckpointError(f"config.json lacks {key}")
        return value

    def optional_positive(self, key: str) -> int | None:
        value = self._config.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(f"config.json has {key} = {_short(value)}; expected a whole number of at least 1")
        return value

    def real(self, key: str, default: float) -> float:
        value = self._config.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise CheckpointError(f"config.json has {key} = {_short(value)}; expected a positive number")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self._config.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise CheckpointError(f"config.json has {key} = {_short(value)}; expected true or false")
        return value


def token_ids(value: Any, key: str) -> tuple[int, ...]:
    """One id or a list of ids, in order and once each; negative ids mean none (old configurations have pad -1)."""
    listed = value if isinstance(value, list) else [value]
    for item in listed:
        if item is not None and (isinstance(item, bool) or not isinstance(item, int)):
            raise CheckpointError(f"{key} is {_short(value)}; expected a token id or a list of them")
    return tuple(dict.fromkeys(item for item in listed if item is not None and item >= 0))


def _ends(places: tuple[Mapping[str, Any], ...], tokenizer: TokenizerFiles | None, vocab_size: int) -> tuple[int, ...]:
    stated = [index for place in places for index in token_ids(place.get("eos_token_id"), "eos_token_id")]
    # A tokenizer may have tokens that the model has no rows for, which cannot come out of it.
    own = [index for index in tokenizer.eos_ids if index < vocab_size] if tokenizer else []
    return tuple(dict.fromkeys([*stated, *own]))


def _own_id(own: int | None, vocab_size: int, places: tuple[Mapping[str, Any], ...], key: str) -> int | None:
    if own is not None and own < vocab_size:
        return own
    stated = [index for place in places for index in token_ids(place.get(key), key)]
    return stated[0] if stated else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
