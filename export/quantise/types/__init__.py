"""The types of weights: every module here is one, and calls it `TYPE`, or has several, `TYPES`."""

from __future__ import annotations

import importlib
import pkgutil

from skywork_rt.export.quantise.weight_type import WeightType

__all__ = ["DEFAULT_WEIGHTS", "GGUF", "RANDOM_WEIGHTS", "ROUNDED_WEIGHTS", "TYPES", "WEIGHTS"]


def _found() -> dict[str, WeightType]:
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    types: list[WeightType] = [one for module in modules for one in getattr(module, "TYPES", None) or (module.TYPE,)]
    return {one.name: one for one in sorted(types, key=lambda one: (-one.group_bytes, one.name))}


TYPES = _found()
"""By name, from the most to the fewest bits a weight."""

GGUF = "gguf"
"""Weights as they are in a GGUF file, each matrix in the type that it has there."""

ROUNDED_WEIGHTS = tuple(name for name in TYPES if TYPES[name].pack is not None)
"""The types that any weights can be rounded to."""

WEIGHTS = (GGUF, *ROUNDED_WEIGHTS)
"""The names that `quantise_weights` knows."""

DEFAULT_WEIGHTS = tuple(name for name in reversed(TYPES) if TYPES[name].default)
"""What an export makes unasked, the smallest first."""

RANDOM_WEIGHTS = tuple(name for name in TYPES if TYPES[name].random is not None)
"""The names that `write_random_weights` knows."""
