"""How much memory a model will take, before it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt import _core
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.errors import CapacityError, InvalidArgumentError

__all__ = ["Need", "need_of"]

_LEAST_CACHE = 16  # tokens: a cache below this serves nobody


@dataclass(frozen=True)
class Need:
    """Bytes of an open model, from above: the largest of the weights that may be chosen, and a full cache."""

    weights: int
    cache: int
    length: int
    """Longest prompt and answer together, in tokens."""

    @property
    def total(self) -> int:
        return self.weights + self.cache


def need_of(path: str, options: Mapping[str, Any], most: int | None) -> tuple[Need, Mapping[str, Any]]:
    """What the bundle takes, and the options to open it with: where memory is bounded, its cache is bounded too.

    Raises CapacityError when its weights alone are too large, BundleNotFoundError, CorruptBundleError and
    InvalidArgumentError.
    """
    bundle, model = BundleInfo.open(path), _core.read_bundle_model(path)
    weights = _weights(bundle, str(options.get("weights", "auto")))
    number = 2 if options.get("kv_cache") == "f16" else 4
    token = 2 * model.layers * model.kv_heads * model.head_dim * number
    length = _whole(options, "max_length") or model.max_length
    width = _whole(options, "max_batch") or _default("max_batch")
    tokens = _whole(options, "max_cached_tokens") or length * width
    cache = min(tokens * token, _whole(options, "max_cache_bytes") or tokens * token)
    if most is None:
        return Need(weights, cache, length), options
    if weights + _LEAST_CACHE * token > most:
        raise CapacityError(
            f"its weights take {weights} bytes and the least cache {_LEAST_CACHE * token}, but max_model_memory is "
            f"{most}; raise it, or choose smaller weights"
        )
    cache = min(cache, most - weights)
    return Need(weights, cache, length), {**options, "max_cache_bytes": cache}


def _weights(bundle: BundleInfo, chosen: str) -> int:
    """Bytes of the file of the chosen weights; of "auto", of the largest."""
    files = bundle.section("weights")
    names = [files[chosen]] if chosen in files else list(files.values())
    sizes = [file.stat().st_size for name in names if (file := bundle.directory / Path(str(name)).name).is_file()]
    if sizes:
        return max(sizes)
    return sum(file.stat().st_size for file in bundle.directory.iterdir() if file.is_file())  # graphs alone


def _whole(options: Mapping[str, Any], name: str) -> int:
    """0 for what is not given. A config file may hold anything. Raises InvalidArgumentError."""
    value = options.get(name) or 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(f"{name} is {value!r:.80} ({type(value).__name__}), but must be a whole number")
    return value


def _default(name: str) -> int:
    return int(next(row["default"] for row in _core.generator_fields() if row["name"] == name))
