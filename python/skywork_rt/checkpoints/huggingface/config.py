"""config.json of a Hugging Face directory -> ModelConfig, refusing by name what a Llama structure does not have."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from skywork_rt.checkpoints.checkpoint import choose_max_length, notice_longrope
from skywork_rt.checkpoints.foreign import foreign_architecture
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.rope import make_rope, scaled_length
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["MODEL_TYPES", "read_config", "token_ids"]

_log = logging.getLogger("skywork_rt.export")


@dataclass(frozen=True)
class _Family:
    """What a model_type means. Defaults are those of its configuration class for keys that a config.json leaves out."""

    architectures: tuple[str, ...]
    qkv_bias: bool = False
    reads_attention_bias: bool = False  # attention_bias: on q, k, v and the output
    reads_mlp_bias: bool = False
    qk_norm: bool = False
    skips_rope: bool = False
    default_kv_heads: int | None = None  # None: as many as heads
    default_head_dim: int | None = None  # None: hidden_size / heads
    default_theta: float = 10000.0
    default_tied: bool = False
    window: Literal["stated", "typed", "switched", "layers without rope"] = "stated"
    default_sliding_window: int | None = None


MODEL_TYPES: dict[str, _Family] = {
    "llama": _Family(("LlamaForCausalLM", "LLaMAForCausalLM"), reads_attention_bias=True, reads_mlp_bias=True),
    "mistral": _Family(("MistralForCausalLM",), default_kv_heads=8, default_sliding_window=4096),
    "ministral": _Family(("MinistralForCausalLM",), default_kv_heads=8, default_sliding_window=4096, window="typed"),
    "qwen2": _Family(("Qwen2ForCausalLM",), qkv_bias=True, window="switched"),
    "qwen3": _Family(
        ("Qwen3ForCausalLM",),
        reads_attention_bias=True,
        qk_norm=True,
        default_kv_heads=32,
        default_head_dim=128,
        window="switched",
    ),
    "smollm3": _Family(
        ("SmolLM3ForCausalLM",),
        reads_attention_bias=True,
        reads_mlp_bias=True,
        skips_rope=True,
        default_kv_heads=4,
        default_theta=2e6,
        default_tied=True,
        window="layers without rope",
    ),
    "skywork": _Family(("SkyworkForCausalLM",)),
}
"""model_type values that have the Llama structure. Code that a checkpoint brings (auto_map) is never run."""

# Parts of other models: a value other than the neutral one changes the result, so it is refused by name.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
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
    layers = numbers.positive("num_hidden_layers")
    heads, hidden = numbers.positive("num_attention_heads"), numbers.positive("hidden_size")
    head_dim = numbers.optional_positive("head_dim") or family.default_head_dim or _head_dim(hidden, heads)
    attention_bias = family.reads_attention_bias and numbers.flag("attention_bias")
    unturned = _layers_without_rope(config, numbers, layers) if family.skips_rope else ()
    rope_type, theta, scaling = _rope_parameters(config, family)
    stated = numbers.positive("max_position_embeddings")
    length = _length(max_length, scaled_length(rope_type, stated, scaling), _window(config, family, unturned), name)
    ids = (generation or {}, config)
    vocab_size = numbers.positive("vocab_size")
    rope = make_rope(rope_type, theta, head_dim, stated, scaling, length)
    notice_longrope(name, rope.type, length, scaling.get("original_max_position_embeddings", stated))
    return ModelConfig(
        name=name,
        layers=layers,
        hidden_size=hidden,
        intermediate_size=numbers.positive("intermediate_size"),
        heads=heads,
        kv_heads=_kv_heads(config, family, numbers, heads),
        head_dim=head_dim,
        vocab_size=vocab_size,
        max_length=length,
        rms_norm_eps=numbers.real("rms_norm_eps", 1e-6),
        rope=rope,
        qkv_bias=family.qkv_bias or attention_bias,
        output_bias=attention_bias,
        mlp_bias=family.reads_mlp_bias and numbers.flag("mlp_bias"),
        qk_norm=family.qk_norm,
        layers_without_rope=unturned,
        tied_embeddings=numbers.flag("tie_word_embeddings", family.default_tied),
        bos_id=_own_id(tokenizer.bos_id if tokenizer else None, vocab_size, ids, "bos_token_id"),
        pad_id=_own_id(tokenizer.pad_id if tokenizer else None, vocab_size, ids, "pad_token_id"),
        eos_ids=_ends(ids, tokenizer, vocab_size),
    )


def _length(requested: int | None, made_for: int, window: int | None, name: str) -> int:
    reason = f"the sliding window, which is not implemented beyond {window}"
    length = choose_max_length(requested, made_for, window, reason)
    if window is not None and window < made_for and requested is None:
        _log.warning("max_length of %s is %d, its sliding window, instead of %d", name, length, made_for)
    return length


def _family(config: Mapping[str, Any]) -> _Family:
    model_type = config.get("model_type")
    family = MODEL_TYPES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise UnsupportedError(
            f"model_type {_short(model_type)} is not supported; known are {', '.join(MODEL_TYPES)}{_advice(model_type)}"
        )
    architectures = config.get("architectures")
    if architectures is None:
        return family
    if not isinstance(architectures, list) or not set(map(str, architectures)) & set(family.architectures):
        raise UnsupportedError(
            f"architectures {architectures!r} is not supported for model_type {model_type!r}; "
            f"expected {' or '.join(family.architectures)}"
        )
    return family


def _advice(model_type: Any) -> str:
    """What a model of an unknown type can be run as, where its weights allow it."""
    advice = foreign_architecture(str(model_type))
    return f" ({advice})" if advice else ""


def _refuse_foreign_parts(config: Mapping[str, Any]) -> None:
    for key, neutral in _NEUTRAL.items():
        value = config.get(key)
        if value not in neutral:
            hint = {
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


def _kv_heads(config: Mapping[str, Any], family: _Family, numbers: _Numbers, heads: int) -> int:
    if "num_key_value_heads" not in config:
        return family.default_kv_heads or heads
    return numbers.optional_positive("num_key_value_heads") or heads


def _window(config: Mapping[str, Any], family: _Family, unturned: tuple[int, ...]) -> int | None:
    """Positions that some layer looks back on, or None where all layers look back on everything."""
    numbers = _Numbers(config)
    if family.window in ("stated", "typed"):
        stated = numbers.optional_positive("sliding_window")
        window = stated if "sliding_window" in config else family.default_sliding_window
        return window if family.window == "stated" or _some_layer_slides(config, True) else None
    # These state a window that is off unless they say otherwise, and then on some layers only.
    if not numbers.flag("use_sliding_window"):
        return None
    if family.window == "switched":
        first = numbers.optional_positive("max_window_layers", least=0)
        first = 28 if first is None else first
        if not _some_layer_slides(config, first < numbers.positive("num_hidden_layers")):
            return None
        return numbers.optional_positive("sliding_window") or 4096
    return numbers.optional_positive("sliding_window") if _some_layer_slides(config, bool(unturned)) else None


def _some_layer_slides(config: Mapping[str, Any], otherwise: bool) -> bool:
    """By `layer_types`, or `otherwise` where config.json has none."""
    listed = config.get("layer_types")
    if listed is None:
        return otherwise
    layers = _Numbers(config).positive("num_hidden_layers")
    if not isinstance(listed, list) or len(listed) != layers or not all(isinstance(item, str) for item in listed):
        raise CheckpointError(f"config.json has layer_types = {_short(listed)}; expected a name for each of {layers}")
    unknown = sorted(set(listed) - {"full_attention", "sliding_attention"})
    if unknown:
        raise UnsupportedError(f"config.json has layers of type {unknown[0]!r}, which are not supported")
    return "sliding_attention" in listed


def _layers_without_rope(config: Mapping[str, Any], numbers: _Numbers, layers: int) -> tuple[int, ...]:
    """In `no_rope_layers` 1 means a layer with rotary, 0 one without; by default every fourth is without."""
    listed = config.get("no_rope_layers")
    if listed is None:
        interval = numbers.optional_positive("no_rope_layer_interval") or 4
        return tuple(range(interval - 1, layers, interval))
    if not isinstance(listed, list) or len(listed) < layers or not all(item in (0, 1) for item in listed):
        raise CheckpointError(
            f"config.json has no_rope_layers = {_short(listed)}; expected 0 or 1 for each of {layers} layers"
        )
    return tuple(index for index, turned in enumerate(listed[:layers]) if not turned)


def _rope_parameters(config: Mapping[str, Any], family: _Family) -> tuple[str, float, dict[str, Any]]:
    """Type, theta and parameters of the rotary embedding.

    transformers 5 writes rope_parameters with theta inside; before, rope_scaling beside rope_theta.
    """
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(parameters, dict):
        raise CheckpointError(f"rope scaling is {_short(parameters)}; expected an object")
    if any(isinstance(value, dict) for value in parameters.values()):
        raise UnsupportedError("rope_parameters differ between kinds of layers, which is not supported")
    if parameters.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise UnsupportedError(f"partial_rotary_factor {parameters['partial_rotary_factor']} is not supported")
    rope_type = parameters.get("rope_type", parameters.get("type", "default"))
    theta = _Numbers(parameters).real("rope_theta", _Numbers(config).real("rope_theta", family.default_theta))
    if config.get("original_max_position_embeddings") is not None:
        original = config["original_max_position_embeddings"]
        parameters = {**parameters, "original_max_position_embeddings": original}
    return str(rope_type), theta, parameters


class _Numbers:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def positive(self, key: str) -> int:
        value = self.optional_positive(key)
        if value is None:
            raise CheckpointError(f"config.json lacks {key}")
        return value

    def optional_positive(self, key: str, least: int = 1) -> int | None:
        value = self._config.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise CheckpointError(
                f"config.json has {key} = {_short(value)}; expected a whole number of at least {least}"
            )
        return value

    def real(self, key: str, default: float) -> float:
        value = self._config.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise CheckpointError(f"config.json has {key} = {_short(value)}; expected a positive number")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self._config.get(key)
        if value is None:
            return default
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
