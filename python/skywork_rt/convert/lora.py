"""Merging low-rank updates into weights: W + alpha / rank · B · A, as mindpet 1.0.4's LoRADense adds them.

MindFormers keeps both factors beside the weight of a layer: `mindpet_delta_lora_a` [rank, in] and
`mindpet_delta_lora_b` [out, rank] (its `name=` says A and B). The paper: arXiv:2106.09685.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.mindspore.names import lora_factor
from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.tensors.weight_file import FLOAT_TYPES, STORAGE_TYPES, TensorInfo, WeightFile, to_float32
from skywork_rt.convert.casting import in_dtype
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["LoraFactors", "MergedFile", "read_lora"]

_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class LoraFactors:
    """The update of one weight, read when it is asked for."""

    file: WeightFile
    a: str
    b: str
    scaling: float

    def check(self, weight: str, shape: tuple[int, ...]) -> None:
        """Raises CheckpointError unless B · A has the weight's shape."""
        first, second = self.file.tensors[self.a].shape, self.file.tensors[self.b].shape
        fits = len(shape) == len(first) == len(second) == 2 and (second[0], first[1]) == shape
        if not fits or first[0] != second[1] or not first[0]:
            raise CheckpointError(
                f"{self.file.path.name}: the update of {weight} {list(shape)} is {list(second)} times {list(first)}, "
                "which does not fit"
            )

    def added(self, values: NDArray[Any], stored: str, wanted: str) -> NDArray[Any]:
        """`values` with the update added in float32, rounded once to `wanted`."""
        first, second = self.file.read(self.a), self.file.read(self.b)
        result = np.empty(values.shape, STORAGE_TYPES[wanted])
        rows = max(1, _BLOCK_ELEMENTS // max(1, values.shape[1]))
        for start in range(0, len(values), rows):
            part = slice(start, start + rows)
            total: Float32Array = to_float32(values[part], FLOAT_TYPES[stored]) + np.float32(self.scaling) * (
                second[part] @ first
            )
            result[part] = in_dtype(self.a, total, "float32", wanted)
        return result


def read_lora(file: WeightFile, alpha: float | None, rank: int | None = None) -> dict[str, LoraFactors]:
    """Name of the weight, as MindFormers has it, to its update.

    `alpha` is lora_alpha of the training's pet_config, `rank` its lora_rank where that is known; the optimizer's state
    of a factor is passed over. Raises CheckpointError when a factor is alone, when there is none, when alpha is not
    known, or when a factor is of another rank.
    """
    found: dict[str, dict[str, str]] = {}
    for name in file.tensors:
        factor = lora_factor(name)
        if factor:
            found.setdefault(factor[0], {})[factor[1]] = name
    if not found:
        raise CheckpointError(f"{file.path.name} has no low-rank updates: no tensor is called mindpet_delta_lora_a")
    if alpha is None:
        raise CheckpointError(
            f"{file.path.name} does not say by what its updates are multiplied; give lora_alpha of the training's "
            "pet_config with --lora-alpha (lora_alpha=), or its YAML with --config"
        )
    for layer, pair in found.items():
        if len(pair) != 2:
            raise CheckpointError(
                f"{file.path.name} has one factor of the update of {layer} only, {next(iter(pair.values()))}"
            )
        if rank is not None and rank != _rank(file, pair["a"]):
            raise CheckpointError(
                f"{file.path.name}: the update of {layer} is of rank {_rank(file, pair['a'])}, but pet_config says "
                f"lora_rank {rank}: that is of another training; give its lora_alpha with --lora-alpha (lora_alpha=)"
            )
    return {
        f"{_without_prefix(layer)}.weight": LoraFactors(file, pair["a"], pair["b"], alpha / _rank(file, pair["a"]))
        for layer, pair in found.items()
    }


def _without_prefix(layer: str) -> str:
    """MindFormers' LoraModel may put its own name before those of the network."""
    return layer.removeprefix("lora_model.")


def _rank(file: WeightFile, name: str) -> int:
    shape = file.tensors[name].shape
    return max(1, shape[0]) if shape else 1


class MergedFile:
    """A `WeightFile` whose weights have their updates in them, and which has no factors any more.

    `translate` gives MindFormers' name for a name of the file. `dtype`: what updated weights are rounded to; None
    keeps their own type.
    """

    def __init__(
        self,
        base: WeightFile,
        updates: Mapping[str, LoraFactors],
        dtype: str | None,
        translate: Callable[[str], str | None] = lambda name: name,
    ) -> None:
        self._base = base
        self._dtype = dtype
        self._updates: dict[str, LoraFactors] = {}
        self._tensors: dict[str, TensorInfo] = {}
        for name, info in base.tensors.items():
            if lora_factor(name):
                continue
            update = updates.get(translate(name) or "")
            if update is None:
                self._tensors[name] = info
                continue
            if info.dtype not in FLOAT_TYPES:
                raise UnsupportedError(f"{base.path.name}: tensor {name} has dtype {info.dtype}; nothing can be added")
            update.check(name, info.shape)
            self._updates[name] = update
            self._tensors[name] = TensorInfo(info.shape, dtype or info.dtype)

    @property
    def path(self) -> Path:
        return self._base.path

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    @property
    def updated(self) -> set[str]:
        """Names of the tensors that an update is added to."""
        return set(self._updates)

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> Float32Array:
        dtype = self._tensors[name].dtype
        return to_float32(self.read_array(name, start, stop), FLOAT_TYPES[dtype])

    def read_array(self, name: str, start: int | None = None, stop: int | None = None) -> NDArray[Any]:
        values = self._base.read_array(name)
        if name in self._updates:
            values = self._updates[name].added(values, self._base.tensors[name].dtype, self._tensors[name].dtype)
        return values[slice(start, stop)] if start is not None else values


def check_all_used(updates: Mapping[str, LoraFactors], used: set[str], where: str) -> None:
    """Raises CheckpointError when an update belongs to no weight."""
    left = sorted(set(updates) - used)
    if left:
        raise CheckpointError(f"{where} has no weight {left[0]} to add its update to ({len(left)} such updates)")
