"""What readers share whose weights lie in files of tensors: from the model's names to places in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.checkpoint import Checkpoint, check_shape
from skywork_rt.checkpoints.model import Float32Array, ModelConfig, RawTensor
from skywork_rt.checkpoints.tensors.weight_file import FLOAT_TYPES, WeightFile, to_float32
from skywork_rt.errors import UnsupportedError

__all__ = ["FileSource", "Place", "StoredCheckpoint"]

Wrapped = TypeVar("Wrapped", bound=WeightFile)


@runtime_checkable
class StoredCheckpoint(Checkpoint, Protocol):
    """A `Checkpoint` that also gives its weights as they are stored."""

    def dtype(self, name: str) -> str:
        """The type in which the tensor is stored, one of `FLOAT_TYPES`."""
        ...

    def stored(self, name: str) -> NDArray[Any]:
        """The tensor bit for bit; bfloat16 as uint16."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: a whole tensor of a file, or some of its rows in the order given."""

    file: WeightFile
    name: str
    rows: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what lies there."""
        shape = self.file.tensors[self.name].shape
        return shape if self.rows is None or not shape else (len(self.rows), *shape[1:])

    def read(self, start: int | None = None, stop: int | None = None) -> NDArray[Any]:
        """The tensor, or its rows start to stop, as stored."""
        if self.rows is None:
            return self.file.read_array(self.name, start, stop)
        return np.ascontiguousarray(self.file.read_array(self.name)[self.rows[slice(start, stop)]])


class FileSource:
    """The part of `Checkpoint` that is the same whatever the files are; see `Source` for the interface."""

    def __init__(self, config: ModelConfig, places: Mapping[str, Place]) -> None:
        self._config = config
        self._shapes = config.tensor_shapes()
        self._places = places
        for name, shape in self._shapes.items():
            place = places[name]
            where, info = place.file.path.name, place.file.tensors[place.name]
            check_shape(place.name, place.shape, shape, where)
            if info.dtype not in FLOAT_TYPES:
                raise UnsupportedError(
                    f"{where}: tensor {place.name} has dtype {info.dtype}; supported are {', '.join(FLOAT_TYPES)}"
                )

    def files(self) -> list[Path]:
        """The files that hold the weights."""
        return list(dict.fromkeys(place.file.path for place in self._places.values()))

    def wrap_files(self, wrap: Callable[[WeightFile], Wrapped]) -> list[Wrapped]:
        """Puts `wrap(file)` in the place of every file and returns what was put there."""
        wrapped = {
            file.path: wrap(file) for file in {place.file.path: place.file for place in self._places.values()}.values()
        }
        self._places = {
            name: Place(wrapped[place.file.path], place.name, place.rows) for name, place in self._places.items()
        }
        return list(wrapped.values())

    @property
    def config(self) -> ModelConfig:
        return self._config

    def tensor_names(self) -> Sequence[str]:
        return list(self._shapes)

    def tensor(self, name: str) -> Float32Array:
        return to_float32(self.stored(name), FLOAT_TYPES[self.dtype(name)])

    def rows(self, name: str, start: int, stop: int) -> Float32Array:
        return to_float32(self._places[name].read(start, stop), FLOAT_TYPES[self.dtype(name)])

    def raw_type(self, name: str) -> str | None:
        del name
        return None

    def raw(self, name: str) -> RawTensor | None:
        del name
        return None

    def dtype(self, name: str) -> str:
        place = self._places[name]
        return place.file.tensors[place.name].dtype

    def stored(self, name: str) -> NDArray[Any]:
        return self._places[name].read()
