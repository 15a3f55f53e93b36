"""Where the graphs' parameters come from: a checkpoint, a bundle's packed weights, or a graph that a bundle has."""

from __future__ import annotations

from typing import Protocol

from skywork_rt.checkpoints.model import Float32Array, ModelConfig, Source
from skywork_rt.export.graph.lite_file import LiteFile
from skywork_rt.export.graph.weights import GraphWeight

__all__ = ["GraphParameters", "Parameters", "SourceParameters"]


class Parameters(Protocol):
    """Gives each parameter of the graphs."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def choice(self) -> str:
        """What `Generator.options["weights"]` says of them."""
        ...

    def parameter(self, weight: GraphWeight) -> Float32Array:
        """Its values, float32 of `weight.shape`."""
        ...


class SourceParameters:
    """Made of the tensors of a source."""

    def __init__(self, source: Source, choice: str) -> None:
        self._source = source
        self.config = source.config
        self.choice = choice

    def parameter(self, weight: GraphWeight) -> Float32Array:
        return weight.make(self._source.tensor(weight.source))


class GraphParameters:
    """Those of a graph of MindSpore Lite, which has the same ones."""

    choice = "f32"

    def __init__(self, file: LiteFile, config: ModelConfig) -> None:
        self._file = file
        self.config = config

    def parameter(self, weight: GraphWeight) -> Float32Array:
        return self._file.constant(weight.name, weight.shape)
