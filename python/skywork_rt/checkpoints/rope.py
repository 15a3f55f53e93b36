"""Rotary frequencies with their scaling folded in.

Every function computes in float32 in the order of operations of transformers' ``ROPE_INIT_FUNCTIONS``, so that a model
gets the angles with which it is evaluated elsewhere. Papers: rotary embedding arXiv:2104.09864; yarn arXiv:2309.00071;
llama3 is the scheme that Llama 3.1 was published with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skywork_rt.checkpoints.model import MAX_HEAD_DIM, Float32Array, RopeConfig
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["ROPE_TYPES", "make_rope", "rope_from_factors"]


def make_rope(
    rope_type: str, theta: float, head_dim: int, max_positions: int, parameters: Mapping[str, Any] | None = None
) -> RopeConfig:
    """The frequencies for `rope_type` with the scaling parameters in Hugging Face's names.

    Raises UnsupportedError for a type that is not in `ROPE_TYPES`, CheckpointError for a missing or impossible
    parameter. `max_positions` is what the model states as its length; it is the original length where the parameters
    name none.
    """
    scale = _SCALINGS.get(rope_type)
    if scale is None:
        raise UnsupportedError(f"rope scaling type {rope_type!r} is not supported; known are {', '.join(ROPE_TYPES)}")
    if not 0 < head_dim <= MAX_HEAD_DIM:
        raise CheckpointError(f"head_dim is {head_dim}; it must be a whole number from 1 to {MAX_HEAD_DIM}")
    if not (math.isfinite(theta) and theta > 0):
        raise CheckpointError(f"rope theta is {theta}; it must be a positive number")
    given = _Parameters(rope_type, parameters or {}, max_positions)
    frequencies, attention_factor = scale(theta, head_dim, given)
    return _config(rope_type, theta, frequencies, attention_factor)


def rope_from_factors(theta: float, head_dim: int, factors: Float32Array) -> RopeConfig:
    """The frequencies divided by one factor each: how GGUF stores llama3 scaling (tensor rope_freqs)."""
    if factors.shape != (head_dim // 2,):
        raise CheckpointError(f"rope_freqs has shape {list(factors.shape)}; expected [{head_dim // 2}]")
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise CheckpointError("rope_freqs has a factor that is not a positive number")
    frequencies = np.divide(_plain_frequencies(theta, head_dim), factors, dtype=np.float32)
    return _config("llama3", theta, frequencies, 1.0)


class _Parameters:
    """Scaling parameters with checks that name what is wrong."""

    def __init__(self, rope_type: str, values: Mapping[str, Any], max_positions: int) -> None:
        self._type = rope_type
        self._values = values
        self.max_positions = max_positions

    def number(self, key: str, default: float | None = None) -> float:
        value = self._values.get(key)
        if value is None:
            if default is None:
                raise CheckpointError(f"rope scaling {self._type!r} lacks {key!r}")
            return default
        valid = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        if not valid:
            raise CheckpointError(f"rope scaling {self._type!r} has {key} = {value!r}; it must be a positive number")
        return float(value)

    def optional(self, key: str) -> float | None:
        return None if self._values.get(key) is None else self.number(key)

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._values.get(key, default))

    def original_length(self) -> float:
        return self.number("original_max_position_embeddings", float(self.max_positions))


_Scaled = tuple[Float32Array, float]


def _powers(theta: float, head_dim: int) -> Float32Array:
    exponents = np.arange(0, head_dim, 2).astype(np.float32) / np.float32(head_dim)
    # Raised in float64 and rounded once: the nearest float32, whatever the libm or SIMD level of the machine.
    powers: Float32Array = np.power(np.float64(theta), exponents.astype(np.float64)).astype(np.float32)
    return powers


def _plain_frequencies(theta: float, head_dim: int) -> Float32Array:
    return np.asarray(np.float32(1.0) / _powers(theta, head_dim), dtype=np.float32)


def _default(theta: float, head_dim: int, _: _Parameters) -> _Scaled:
    return _plain_frequencies(theta, head_dim), 1.0


def _linear(theta: float, head_dim: int, given: _Parameters) -> _Scaled:
    return _plain_frequencies(theta, head_dim) / np.float32(given.number("factor")), 1.0


def _dynamic(theta: float, head_dim: int, given: _Parameters) -> _Scaled:
    # Up to the stated length dynamic scaling changes nothing; the readers hold max_length to it.
    given.number("factor")
    return _plain_frequencies(theta, head_dim), 1.0


def _llama3(theta: float, head_dim: int, given: _Parameters) -> _Scaled:
    factor = np.float32(given.number("factor"))
    low, high = given.number("low_freq_factor"), given.number("high_freq_factor")
    if low >= high:
        raise CheckpointError(f"rope scaling 'llama3' has low_freq_factor {low} not below high_freq_factor {high}")
    length = given.original_length()
    plain = _plain_frequencies(theta, head_dim)
    wavelength = np.float32(2 * math.pi) / plain
    scaled = np.where(wavelength > np.float32(length / low), plain / factor, plain)
    smooth = (np.float32(length) / wavelength - np.float32(low)) / np.float32(high - low)
    smoothed = (np.float32(1) - smooth) * scaled / factor + smooth * scaled
    between = (wavelength >= np.float32(length / high)) & (wavelength <= np.float32(length / low))
    return np.where(between, smoothed, scaled).astype(np.float32), 1.0


def _yarn(theta: float, head_dim: int, given: _Parameters) -> _Scaled:
    length = given.original_length()
    factor = given.number("factor", given.max_positions / length)
    powers = _powers(theta, head_dim)
    extrapolated = np.float32(1.0) / powers
    interpolated = np.float32(1.0) / (np.float32(factor) * powers)
    keep = np.float32(1.0) - _yarn_ramp(theta, head_dim, length, given)
    frequencies = interpolated * (np.float32(1.0) - keep) + extrapolated * keep
    return frequencies.astype(np.float32), _yarn_attention_factor(factor, given)


def _yarn_ramp(theta: float, head_dim: int, length: float, given: _Parameters) -> Float32Array:
    """0 for the fast dimensions that stay as trained, 1 for the slow ones that are interpolated."""

    def dimension_with(rotations: float) -> float:
        return (head_dim * math.log(length / (rotations * 2 * math.pi))) / (2 * math.log(theta))

    low, high = dimension_with(given.number("beta_fast", 32.0)), dimension_with(given.number("beta_slow", 1.0))
    if given.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001
    ramp = (np.arange(head_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    clipped: Float32Array = np.clip(ramp, np.float32(0), np.float32(1))
    return clipped


def _yarn_attention_factor(factor: float, given: _Parameters) -> float:
    stated = given.optional("attention_factor")
    if stated is not None:
        return stated

    def temperature(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    mscale, mscale_all_dim = given.optional("mscale"), given.optional("mscale_all_dim")
    if mscale is not None and mscale_all_dim is not None:
        return temperature(mscale) / temperature(mscale_all_dim)
    return temperature(1.0)


_SCALINGS: dict[str, Callable[[float, int, _Parameters], _Scaled]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
}

ROPE_TYPES = tuple(_SCALINGS)
"""The scaling types that `make_rope` computes."""


def _config(rope_type: str, theta: float, frequencies: Float32Array, attention_factor: float) -> RopeConfig:
    values = tuple(float(f) for f in frequencies.astype(np.float32))
    return RopeConfig(rope_type, theta, values, float(np.float32(attention_factor)))
