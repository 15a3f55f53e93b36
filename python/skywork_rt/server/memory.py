"""How much memory a model will take, before it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt import _core
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.errors import CapacityError

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

    Raises CapacityError when its weights alone are too large, BundleNotFoundError and CorruptBundleError.
    """
    bundle, model = BundleInfo.open(path), _core.read_bundle_model(path)
    weights = _weights(bundle, str(options.get("weights", "auto")))
    width = 2 if options.get("kv_cache") == "f16" else 4
    token = 2 * model.layers * model.kv_heads * model.head_dim * width
    length = int(options.get("max_length") or model.max_length)
    tokens = int(options.get("max_cached_tokens") or length * int(options.get("max_batch") or _default("max_batch")))
    cache = min(tokens * token, int(options.get("max_cache_bytes") or tokens * token))
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


def _default(name: str) -> int:
    return int(next(row["default"] for row in _core.generator_fields() if row["name"] == name))
