"""generation_config.json as it is found: values that other libraries take and our own ranges do not are understood."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["from_generation_config"]

_log = logging.getLogger("skywork_rt")

Values = dict[str, Any]


def from_generation_config(config: Mapping[str, Any]) -> Values:
    """Fields of SamplingParams, all in range.

    Meanings are transformers' (4.57, the logits warpers): a temperature of 0 is greedy; top_p keeps at least one token,
    so 0 keeps the best; min_p 0, typical_p 1, top_k 0 and repetition_penalty 1 are off. A value that is no number, or
    that no library could use, is left out with a warning.
    """
    taken: Values = {}
    for key, read in _READERS.items():
        value = config.get(key)
        if value is None:
            continue
        fields = read(float(value)) if _is_number(value) else None
        if fields is None:
            _log.warning("generation_config.json has %s = %.40r, which means nothing here: it is left out", key, value)
        else:
            taken |= fields
    return taken


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return (isinstance(value, int) and abs(value) < 2**63) or (isinstance(value, float) and not math.isnan(value))


def _temperature(value: float) -> Values | None:
    return {"temperature": max(value, 0.0)} if value < _LARGEST_FLOAT else None


def _top_k(value: float) -> Values | None:
    if math.isfinite(value) and value != int(value):
        return None
    return {"top_k": int(value) if 0 < value < 2**31 else 0}


def _top_p(value: float) -> Values:
    # A probability that no token is needed to reach keeps the likeliest one.
    return {"top_p": min(value, 1.0)} if value >= _SMALLEST_FLOAT else {"top_k": 1}


def _min_p(value: float) -> Values:
    return {"min_p": min(max(value, 0.0), 1.0)}


def _typical_p(value: float) -> Values:
    return {"typical_p": value if _SMALLEST_FLOAT <= value < 1 else 1.0}


def _repetition_penalty(value: float) -> Values | None:
    return {"repetition_penalty": value} if _SMALLEST_FLOAT <= value < _LARGEST_FLOAT else None


def _max_new_tokens(value: float) -> Values | None:
    return {"max_tokens": min(int(value), 2**31 - 1)} if math.isfinite(value) and value >= 1 else None


# The core's numbers are float32.
_SMALLEST_FLOAT = 1.2e-38
_LARGEST_FLOAT = 3.4e38

_READERS: Mapping[str, Callable[[float], Values | None]] = {
    "temperature": _temperature,
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _min_p,
    "typical_p": _typical_p,
    "repetition_penalty": _repetition_penalty,
    "max_new_tokens": _max_new_tokens,
}
