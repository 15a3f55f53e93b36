"""Checks one value of a YAML against the type that MindFormers declares, and against its range."""

from __future__ import annotations

import math
from typing import Any

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.train.mindformers_source import Parameter

__all__ = ["check_range", "check_type"]

_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "str": "a text",
    "dict": "keys with values",
    "list": "a list",
    "tuple": "a list",
}
_CLASSES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "str": (str,),
    "dict": (dict,),
    "list": (list, tuple),
    "tuple": (list, tuple),
}

# Keys that count something, wherever they stand: at least this.
_AT_LEAST: dict[str, int] = {
    "batch_size": 1,
    "epochs": 1,
    "seq_length": 1,
    "hidden_size": 1,
    "intermediate_size": 1,
    "num_layers": 1,
    "num_heads": 1,
    "n_kv_heads": 1,
    "vocab_size": 1,
    "multiple_of": 1,
    "max_position_embedding": 1,
    "data_parallel": 1,
    "model_parallel": 1,
    "pipeline_stage": 1,
    "context_parallel": 1,
    "expert_parallel": 1,
    "micro_batch_num": 1,
    "gradient_accumulation_steps": 1,
    "micro_batch_interleave_num": 1,
    "num_parallel_workers": 1,
    "prefetch_size": 1,
    "repeat": 1,
    "per_print_times": 1,
    "save_checkpoint_steps": 1,
    "keep_checkpoint_max": 1,
    "scale_factor": 1,
    "scale_window": 1,
    "lora_rank": 1,
    "seed": 0,
    "stop_step": 0,
    "warmup_steps": 0,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "device_id": 0,
}
_POSITIVE = ("rms_norm_eps", "eps", "max_grad_norm", "theta", "loss_scale_value", "lora_alpha", "init_method_std")
_NOT_NEGATIVE = ("learning_rate", "lr_end", "weight_decay", "warmup_ratio", "warmup_lr_init")
_FRACTIONS = ("lora_dropout", "warmup_ratio")


def check_type(where: str, value: Any, parameter: Parameter) -> None:
    """Raises InvalidArgumentError when the value is not of a declared type; what declares none takes anything."""
    if value is None or not parameter.types:
        return
    known = [name for name in parameter.types if name in _CLASSES]
    if len(known) != len([name for name in parameter.types if name != "None"]) or not known:
        return
    if any(_is(value, name) for name in known):
        return
    wanted = " or ".join(dict.fromkeys(_NAMES[name] for name in known))
    raise InvalidArgumentError(f"{where} is {_shown(value)}; it must be {wanted}")


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "bool"
    return isinstance(value, _CLASSES[name])


def check_range(where: str, key: str, value: Any) -> None:
    """Raises InvalidArgumentError for numbers that count or scale something and are out of their range."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not math.isfinite(value):
        raise InvalidArgumentError(f"{where} is {value}; it must be a finite number")
    if key in _AT_LEAST and value is not None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidArgumentError(f"{where} is {_shown(value)}; it must be a whole number")
        if value < _AT_LEAST[key]:
            raise InvalidArgumentError(f"{where} is {value}; it must be at least {_AT_LEAST[key]}")
    if key in (*_POSITIVE, *_NOT_NEGATIVE, *_FRACTIONS) and value is not None:
        if not number:
            raise InvalidArgumentError(f"{where} is {_shown(value)}; it must be a number")
        if key in _POSITIVE and value <= 0:
            raise InvalidArgumentError(f"{where} is {value}; it must be more than 0")
        if key in _NOT_NEGATIVE and value < 0:
            raise InvalidArgumentError(f"{where} is {value}; it must not be negative")
        if key in _FRACTIONS and value >= 1:
            raise InvalidArgumentError(f"{where} is {value}; it must be below 1")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
