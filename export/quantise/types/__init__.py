"""The types of weights: every module here is one, and calls it `TYPE`."""

from __future__ import annotations

import importlib
import pkgutil

from skywork_rt.export.quantise.weight_type import WeightType

__all__ = ["DEFAULT_WEIGHTS", "RANDOM_WEIGHTS", "TYPES", "WEIGHTS"]


def _found() -> dict[str, WeightType]:
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    types: list[WeightType] = [module.TYPE for module in modules]
    return {one.name: one for one in sorted(types, key=lambda one: (-one.group_bytes, one.name))}


TYPES = _found()
"""By name, from the most to the fewest bits a weight."""

WEIGHTS = tuple(TYPES)
"""The names that `quantise_weights` knows."""

DEFAULT_WEIGHTS = tuple(name for name in reversed(WEIGHTS) if TYPES[name].default)
"""What an export makes unasked, the smallest first."""

RANDOM_WEIGHTS = tuple(name for name in WEIGHTS if TYPES[name].random is not None)
"""The names that `write_random_weights` knows."""
