"""Which part of a tensor a rank holds, as mindspore.transform_checkpoints (2.7.2) divides it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skywork_rt.checkpoints.mindspore.strategy import ParameterLayout
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["Box", "Division"]

Box = tuple[tuple[int, int], ...]
"""Start and stop of each axis."""


@dataclass(frozen=True)
class _Shard:
    """Dimensions of the device matrix that divide the first axis further, the outermost first: number, and how many
    of its places count (the inner ones, when it is more than are needed)."""

    places: tuple[tuple[int, int], ...] = ()

    @property
    def size(self) -> int:
        return math.prod(count for _, count in self.places)

    def index(self, coordinates: tuple[int, ...]) -> int:
        value = 0
        for dimension, count in self.places:
            value = value * count + coordinates[dimension] % count
        return value


class Division:
    """How one tensor is divided among the ranks of its stage.

    `name` and `where` are for messages. Raises CheckpointError for a layout that cannot be of this tensor,
    UnsupportedError for one that is not known.
    """

    def __init__(self, layout: ParameterLayout, dimensions: int, name: str, where: str) -> None:
        self._layout, self._about = layout, f"{where}: the layout of {name}"
        if layout.tensor_map and len(layout.tensor_map) != dimensions:
            raise CheckpointError(
                f"{self._about} is for {len(layout.tensor_map)} dimensions, but the tensor has {dimensions}"
            )
        axes = layout.tensor_map or ((),) * dimensions
        self._axes = [[len(layout.device_matrix) - 1 - item for item in axis] for axis in axes]
        self._counts = [math.prod(layout.device_matrix[item] for item in axis) for axis in self._axes]
        self._shard = self._optimizer_shard()
        if self._shard.size > 1 and not dimensions:
            raise CheckpointError(f"{self._about} divides a tensor without dimensions")

    @property
    def counts(self) -> list[int]:
        """Parts that each axis has, the optimizer's shard included."""
        return [count * (self._shard.size if axis == 0 else 1) for axis, count in enumerate(self._counts)]

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises CheckpointError when an axis of a whole tensor of this shape cannot be divided equally."""
        for axis, (size, count) in enumerate(zip(shape, self.counts, strict=True)):
            if size % count:
                raise CheckpointError(
                    f"{self._about} divides its dimension {axis} of {size} into {count} equal parts, which is "
                    "impossible; such a tensor is left whole (MindFormers does so with a vocabulary that "
                    "model_parallel does not divide)"
                )

    def box(self, shape: tuple[int, ...], place: int) -> Box:
        """What the rank at `place` of its stage holds of the whole tensor."""
        self.check(shape)
        coordinates = self._coordinates(place)
        box = []
        for axis, (size, dimensions) in enumerate(zip(shape, self._axes, strict=True)):
            index = 0
            for dimension in dimensions:
                index = index * self._layout.device_matrix[dimension] + coordinates[dimension]
            if axis == 0:
                index = index * self._shard.size + self._shard.index(coordinates)
            part = size // self.counts[axis]
            box.append((index * part, (index + 1) * part))
        return tuple(box)

    def _coordinates(self, place: int) -> tuple[int, ...]:
        found = []
        for size in reversed(self._layout.device_matrix):
            place, coordinate = divmod(place, size)
            found.append(coordinate)
        return tuple(reversed(found))

    def _optimizer_shard(self) -> _Shard:
        matrix, used = self._layout.device_matrix, {item for axis in self._axes for item in axis}
        size = self._layout.optimizer_size
        if size == -1:
            size = self._layout.devices // math.prod(self._counts)
        if not size or not self._layout.optimizer_step or size == 1:
            return _Shard()
        if any(len(axis) > 1 for axis in self._axes):
            raise UnsupportedError(f"{self._about} has an optimizer shard and an axis divided among several dimensions")
        repeated = [item for item, count in enumerate(matrix) if item not in used and count > 1]
        self._check_step(repeated)
        return self._innermost(repeated, size)

    def _check_step(self, repeated: list[int]) -> None:
        """MindSpore counts on the step where the ranks that repeat a part lie along one dimension, or are all ranks."""
        matrix, step = self._layout.device_matrix, self._layout.optimizer_step
        if not repeated:
            raise CheckpointError(f"{self._about} has an optimizer shard, but no two ranks hold the same part")
        expected = math.prod(matrix[repeated[-1] + 1 :])
        if len(repeated) in (1, len(matrix)) and step != expected:
            raise CheckpointError(f"{self._about} has an optimizer shard of step {step}; expected {expected}")

    def _innermost(self, repeated: list[int], size: int) -> _Shard:
        places: list[tuple[int, int]] = []
        left = size
        for dimension in reversed(repeated):
            count = self._layout.device_matrix[dimension]
            used = min(count, left)
            if count % used or left % used:
                break
            places.insert(0, (dimension, used))
            left //= used
            if left == 1:
                return _Shard(tuple(places))
        raise CheckpointError(
            f"{self._about} has an optimizer shard of {size}, which ranks arranged as "
            f"{list(self._layout.device_matrix)} cannot form"
        )
