"""A bundle's packed weights as a `Source`: what the kernels compute with, as float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skywork_rt.checkpoints.model import Float32Array, ModelConfig, RawTensor
from skywork_rt.checkpoints.tensors.safetensors_file import SafetensorsFile
from skywork_rt.errors import CheckpointError, CorruptBundleError
from skywork_rt.export.quantise.layout import PANEL_ROWS
from skywork_rt.export.quantise.types import TYPES

__all__ = ["PackedSource"]


class PackedSource:
    """A weights file of a bundle (docs/bundle-format.md), dequantised tensor by tensor as it is read.

    Raises CorruptBundleError for a file that is damaged or belongs to another model.
    """

    def __init__(self, path: Path, config: ModelConfig) -> None:
        self._config = config
        try:
            self._file = SafetensorsFile(path)
        except (CheckpointError, OSError) as error:
            raise CorruptBundleError(f"{path} holds no packed weights: {error}") from error
        self._kinds = {name: self._kind_of(name) for name in config.tensor_shapes()}
        if len(self._file.tensors) != len(self._kinds):
            raise self._wrong(f"it holds {len(self._file.tensors)} tensors, the model has {len(self._kinds)}")

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def quantised(self) -> bool:
        """Whether weights are codes, and what is read are other numbers than those of the checkpoint."""
        return any(kind is not None and TYPES[kind].scale_bytes > 0 for kind in self._kinds.values())

    def tensor_names(self) -> Sequence[str]:
        return list(self._kinds)

    def tensor(self, name: str) -> Float32Array:
        shape = self._config.tensor_shapes()[name]
        return self.rows(name, 0, shape[0])

    def rows(self, name: str, start: int, stop: int) -> Float32Array:
        shape, kind = self._config.tensor_shapes()[name], self._kinds[name]
        if kind is None:
            return self._file.read(name)[start:stop]
        first, last = start // PANEL_ROWS, -(-stop // PANEL_ROWS)
        panels = self._file.read_array(f"{name}.{kind}", first, last)
        return TYPES[kind].unpack(panels, shape[1])[start - first * PANEL_ROWS : stop - first * PANEL_ROWS]

    def raw_type(self, name: str) -> str | None:
        del name
        return None

    def raw(self, name: str) -> RawTensor | None:
        return None

    def _kind_of(self, name: str) -> str | None:
        """The type of a matrix, None for a vector, whose entries are checked."""
        shape, tensors = self._config.tensor_shapes()[name], self._file.tensors
        if len(shape) == 1:
            self._check(name, "float32", shape)
            return None
        kind = next((kind for kind in TYPES if f"{name}.{kind}" in tensors), None)
        if kind is None:
            raise self._wrong(f"it has no matrix {name} of a known type")
        self._check(f"{name}.{kind}", "uint8", TYPES[kind].packed_shape(*shape))
        return kind

    def _check(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        info = self._file.tensors.get(name)
        if info is None:
            raise self._wrong(f"it has no tensor {name}")
        if info.shape != shape or info.dtype != dtype:
            raise self._wrong(f"{name} is {info.dtype} {list(info.shape)}, expected {dtype} {list(shape)}")

    def _wrong(self, why: str) -> CorruptBundleError:
        return CorruptBundleError(f"{self._file.path} does not belong to the bundle's model: {why}. Export it again")
