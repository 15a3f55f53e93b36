"""From MindFormers' terms to ours: a GenerationConfig and a prompt's length to SamplingParams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skywork_rt.compat.mindformers.generation.generation_config import DEFAULTS, GenerationConfig
from skywork_rt.compat.notices import ignored, notice
from skywork_rt.errors import InvalidArgumentError, UnsupportedError

if TYPE_CHECKING:
    from skywork_rt.api.params import SamplingParams

__all__ = ["check_lengths", "end_ids", "longest_output", "sampling_params"]


def sampling_params(
    owner: str, config: GenerationConfig, *, prompt: int, limit: int, seed: int | None
) -> SamplingParams:
    """What the engine is asked for. `prompt` tokens are there, `limit` is the longest that prompt + output may be.

    Their order of processors is ours: repetition penalty, temperature, top_k, top_p. Raises InvalidArgumentError for
    values out of range, UnsupportedError for what is not there, by name.
    """
    from skywork_rt.api.params import SamplingParams

    _refuse_missing(owner, config)
    if config.renormalize_logits:
        ignored(owner, "renormalize_logits", "probabilities are always normalised before a token is drawn")
    longest = longest_output(owner, config, prompt=prompt, limit=limit)
    stop = end_ids(owner, config.eos_token_id)
    values: dict[str, Any] = {
        "max_tokens": longest,
        "min_tokens": min(_shortest(config, prompt), longest),
        "repetition_penalty": 1.0 if config.repetition_penalty is None else float(config.repetition_penalty),
        "num_beams": config.num_beams,
        "ignore_eos": stop is not None,
        "stop_token_ids": stop,
        "skip_special_tokens": False,
    }
    return SamplingParams(**values, **_choice(owner, config), seed=seed)


def _choice(owner: str, config: GenerationConfig) -> dict[str, Any]:
    """How a token is chosen. Greedy passes over top_k, top_p and temperature, as theirs does."""
    if config.num_beams > 1 or not config.do_sample:
        if config.num_beams > 1 and config.do_sample:
            notice(f"{owner}.beams", f"{owner}: do_sample is taken as False, since num_beams is {config.num_beams}")
        return {"temperature": 0.0}
    temperature = 1.0 if config.temperature is None else config.temperature
    if not temperature > 0:
        raise InvalidArgumentError(
            f"{owner}: temperature is {temperature!r}, but must be over 0; do_sample=False takes the best token"
        )
    top_p = 1.0 if config.top_p is None else config.top_p
    return {
        "temperature": float(temperature),
        "top_k": 0 if config.top_k is None else config.top_k,
        "top_p": min(float(top_p), 1.0),
    }


def longest_output(owner: str, config: GenerationConfig, *, prompt: int, limit: int) -> int:
    """Tokens that may follow `prompt`: by max_new_tokens, else by max_length; `limit` bounds both, with a warning."""
    check_lengths(owner, config)
    wanted = config.max_length if config.max_new_tokens is None else prompt + config.max_new_tokens
    if wanted > limit:
        notice(
            f"{owner}.limit",
            f"{owner}: {wanted} tokens were asked for, but the sequence length is {limit}; output ends there",
        )
    return int(min(wanted, limit)) - prompt


def check_lengths(owner: str, config: GenerationConfig) -> None:
    """Raises InvalidArgumentError for a length that is none."""
    for name in ("max_length", "max_new_tokens", "min_length", "min_new_tokens"):
        value = getattr(config, name)
        if value is None and name != "max_length":
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise InvalidArgumentError(f"{owner}: {name} is {value!r}, but must be a whole number of at least 0")


def _shortest(config: GenerationConfig, prompt: int) -> int:
    wanted = config.min_new_tokens if config.min_new_tokens is not None else (config.min_length or 0) - prompt
    return int(max(wanted, 0))


def end_ids(owner: str, given: Any) -> list[int] | None:
    """The ids that end an output; None for the model's own. Several may be given; a negative one is none at all."""
    if given is None:
        return None
    listed = list(given) if isinstance(given, list | tuple) else [given]
    for token in listed:
        if isinstance(token, bool) or not isinstance(token, int | np.integer):
            raise InvalidArgumentError(f"{owner}: eos_token_id is {given!r}, but must be a token id or a list of them")
    return [int(token) for token in listed if token >= 0]


def _refuse_missing(owner: str, config: GenerationConfig) -> None:
    for name in ("encoder_repetition_penalty", "output_scores", "output_logits"):
        if getattr(config, name) not in (None, DEFAULTS[name]):
            raise UnsupportedError(
                f"{owner}: {name} is not supported; leave it out (log-probabilities: skywork_rt.Generator, logprobs)"
            )
    if isinstance(config.num_beams, bool) or not isinstance(config.num_beams, int) or config.num_beams < 1:
        raise InvalidArgumentError(f"{owner}: num_beams is {config.num_beams!r}, but must be a whole number, 1 or more")
