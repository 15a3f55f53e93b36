"""GenerationConfig: how MindFormers names what a generation is to be like."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from skywork_rt.support.suggest import refuse_unknown

__all__ = ["DEFAULTS", "GenerationConfig"]

DEFAULTS: dict[str, Any] = {
    "max_length": 20,
    "max_new_tokens": None,
    "min_length": 0,
    "min_new_tokens": None,
    "num_beams": 1,
    "do_sample": False,
    "use_past": False,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "renormalize_logits": False,
    "return_dict_in_generate": False,
    "output_scores": False,
    "output_logits": False,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
"""Names and defaults: those of MindFormers 1.0.2, and what 1.8.0 added."""

_ALIASES = {"max_decode_length": "max_length"}


class GenerationConfig:
    """What `generate` is asked for, as attributes.

    max_length: prompt and output together; `max_decode_length` is another name for it. max_new_tokens: the output
    alone, instead. eos_token_id: one id or a list; None is the model's own. An unknown name raises InvalidArgumentError
    with the nearest one.
    """

    max_length: Any
    max_new_tokens: Any
    min_length: Any
    min_new_tokens: Any
    num_beams: Any
    do_sample: Any
    use_past: Any
    temperature: Any
    top_k: Any
    top_p: Any
    repetition_penalty: Any
    encoder_repetition_penalty: Any
    renormalize_logits: Any
    return_dict_in_generate: Any
    output_scores: Any
    output_logits: Any
    pad_token_id: Any
    bos_token_id: Any
    eos_token_id: Any

    def __init__(self, **kwargs: Any) -> None:
        refuse_unknown("GenerationConfig", kwargs, [*DEFAULTS, *_ALIASES])
        values = {**DEFAULTS, **{_ALIASES[name]: value for name, value in kwargs.items() if name in _ALIASES}}
        values.update({name: value for name, value in kwargs.items() if name in DEFAULTS})
        self.__dict__.update(values)

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], **kwargs: Any) -> GenerationConfig:
        """From a dict, with keywords over it."""
        return cls(**{**config_dict, **kwargs})

    @classmethod
    def from_model_config(cls, model_config: Mapping[str, Any]) -> GenerationConfig:
        """The defaults of a model's configuration; its other keys are left alone."""
        names = {*DEFAULTS, *_ALIASES}
        return cls(**{name: value for name, value in model_config.items() if name in names})

    def update(self, **kwargs: Any) -> dict[str, Any]:
        """Changes what is known by name, and returns the rest."""
        rest = {}
        for name, value in kwargs.items():
            name = _ALIASES.get(name, name)
            if name in DEFAULTS:
                setattr(self, name, value)
            else:
                rest[name] = value
        return rest

    def to_dict(self) -> dict[str, Any]:
        """A copy of all values."""
        return copy.deepcopy(self.__dict__)

    def __str__(self) -> str:
        return str(self.__dict__)

    def __repr__(self) -> str:
        return f"GenerationConfig({self.__dict__})"
