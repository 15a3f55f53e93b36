"""Rotary frequencies with their scaling folded in.

Every function computes in float32 in the order of operations of transformers' ``ROPE_INIT_FUNCTIONS``, so that a model
gets the angles with which it is evaluated elsewhere. Papers: rotary embedding arXiv:2104.09864; yarn arXiv:2309.00071;
longrope arXiv:2402.13753; llama3 is the scheme that Llama 3.1 was published with.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skywork_rt.checkpoints.model import MAX_HEAD_DIM, Float32Array, RopeConfig
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["ROPE_TYPES", "canonical_type", "divided", "make_rope", "scaled_length"]


def make_rope(
    rope_type: str,
    theta: float,
    head_dim: int,
    max_positions: int,
    parameters: Mapping[str, Any] | None = None,
    length: int | None = None,
) -> RopeConfig:
    """The frequencies for `rope_type` with the scaling parameters in Hugging Face's names.

    `max_positions` is what the model states as its length; it is the original length where the parameters name none.
    `length` is the longest sequence that will be run (None: what the model states): longrope has one set of factors
    up to the original length and another beyond it, and a sequence whose keys are cached can have only one of them.

    Raises UnsupportedError for a type that is not in `ROPE_TYPES`, CheckpointError for a missing or impossible
    parameter.
    """
    rope_type = canonical_type(rope_type)
    scale = _SCALINGS.get(rope_type)
    if scale is None:
        raise UnsupportedError(f"rope scaling type {rope_type!r} is not supported; known are {', '.join(ROPE_TYPES)}")
    if not 0 < head_dim <= MAX_HEAD_DIM:
        raise CheckpointError(f"head_dim is {head_dim}; it must be a whole number from 1 to {MAX_HEAD_DIM}")
    if not (math.isfinite(theta) and theta > 0):
        raise CheckpointError(f"rope theta is {theta}; it must be a positive number")
    given = _Parameters(rope_type, parameters or {}, max_positions, length or max_positions)
    frequencies, attention_factor = scale(theta, head_dim, given)
    return _config(rope_type, theta, frequencies, attention_factor)


def scaled_length(rope_type: str, stated: int, parameters: Mapping[str, Any] | None = None) -> int:
    """How many positions a model was made for that states `stated` and this scaling.

    linear, yarn and longrope stretch the original length by their factor: Qwen's recipe sets factor 4 beside an
    unchanged max_position_embeddings. What a model states is never cut. llama3's stated length is stretched already.
    dynamic scaling changes the frequencies while a sequence grows beyond the original length, which cached keys cannot
    follow, so it stays within it.

    Raises CheckpointError for an impossible parameter.
    """
    rope_type = canonical_type(rope_type)
    given = _Parameters(rope_type, parameters or {}, stated, stated)
    if rope_type == "dynamic":
        return min(stated, int(given.original_length()))
    if rope_type not in _STRETCHING:
        return stated
    # Far beyond any model the product is cut, so that it stays a whole number; ModelConfig refuses it.
    return max(stated, int(min(given.original_length() * given.number("factor", 1.0), 1 << 40)))


def canonical_type(rope_type: str) -> str:
    """The name in use for a type of scaling: `su` is what longrope was first published as."""
    return "longrope" if rope_type == "su" else rope_type


def divided(rope: RopeConfig, factors: Float32Array, where: str, rope_type: str) -> RopeConfig:
    """`rope` with its frequencies divided by one factor each, float32 [head_dim / 2]: how GGUF stores llama3's scaling
    (tensor rope_freqs) and longrope's.

    Raises CheckpointError, naming `where`, for another shape and for factors that are not positive.
    """
    expected = len(rope.inverse_frequencies)
    if factors.shape != (expected,):
        raise CheckpointError(f"{where} has shape {list(factors.shape)}; expected [{expected}]")
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise CheckpointError(f"{where} has a factor that is not a positive number")
    frequencies = np.divide(np.array(rope.inverse_frequencies, np.float32), factors, dtype=np.float32)
    return dataclasses.replace(rope, type=rope_type, inverse_frequencies=tuple(float(f) for f in frequencies))


class _Parameters:
    """Scaling parameters with checks that name what is wrong."""

    def __init__(self, rope_type: str, values: Mapping[str, Any], max_positions: int, length: int) -> None:
        self._type = rope_type
        self._values = values
        self.max_positions = max_positions
        self.length = length

    def number(self, key: str, default: float | None = None) -> float:
        value = self._values.get(key)
        if value is None:
            if default is None:
                raise CheckpointError(f"rope scaling {self._type!r} lacks {key!r}")
            return default
        if not _positive(value):
            raise CheckpointError(f"rope scaling {self._type!r} has {key} = {value!r}; it must be a positive number")
        return float(value)

    def optional(self, key: str) -> float | None:
        return None if self._values.get(key) is None else self.number(key)

    def flag(self, key: str, default: bool) -> bool:
        return bool(self._values.get(key, default))

    def factors(self, key: str, count: int) -> Float32Array:
        """A list of `count` positive numbers."""
        values = self._values.get(key)
        if values is None:
            raise CheckpointError(f"rope scaling {self._type!r} lacks {key!r}")
        if not isinstance(values, list) or len(values) != count or not all(map(_positive, values)):
            raise CheckpointError(
                f"rope scaling {self._type!r} has {key} = {str(values)[:40]}; it must be a list of "
                f"head_dim / 2 = {count} positive numbers"
            )
        return np.array(values, np.float32)

    def original_length(self) -> float:
        return self.number("original_max_position_embeddings", float(self.max_positions))


_BEYOND_FLOAT32 = 2.0**128


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _BEYOND_FLOAT32


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
    # Up to the original length dynamic scaling changes nothing; `scaled_length` holds max_length to it.
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
    if theta <= 1:
        raise CheckpointError(f"rope scaling 'yarn' has rope_theta {theta}; it must be more than 1")
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


def _longrope(theta: float, head_dim: int, given: _Parameters) -> _Scaled:
    original = given.original_length()
    chosen = "long_factor" if given.length > original else "short_factor"
    frequencies = np.float32(1.0) / (given.factors(chosen, head_dim // 2) * _powers(theta, head_dim))
    stated = given.optional("attention_factor")
    if stated is not None:
        return frequencies, stated
    # Models state both lengths; their ratio counts, and a factor only where they are equal.
    ratio = given.max_positions / original
    factor = ratio if ratio > 1 else given.number("factor", 1.0)
    if factor > 1 >= original:
        raise CheckpointError(f"rope scaling 'longrope' has an original length of {original}; it must be more than 1")
    return frequencies, math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0


_SCALINGS: dict[str, Callable[[float, int, _Parameters], _Scaled]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
_STRETCHING = ("linear", "yarn", "longrope")

ROPE_TYPES = tuple(_SCALINGS)
"""The scaling types that `make_rope` computes."""


def _config(rope_type: str, theta: float, frequencies: Float32Array, attention_factor: float) -> RopeConfig:
    values = tuple(float(f) for f in frequencies.astype(np.float32))
    return RopeConfig(rope_type, theta, values, float(np.float32(attention_factor)))
