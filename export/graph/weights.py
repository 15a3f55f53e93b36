"""The constants of both graphs: what each is made of, where it lies in the data file, and the writing of that file.

MindSpore is asked for the structure only (llama.py), so its process never holds weights, and this one holds one tensor
at a time. Both graphs have the same parameters and refer to the same file, in the format that `mindspore.export` gives
to weights beside a graph: a header of 64 bytes whose first tells the byte order, then tensors at multiples of 64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skywork_rt.checkpoints.model import Float32Array, ModelConfig, Source
from skywork_rt.errors import CheckpointError
from skywork_rt.support.stages import Progress

__all__ = ["GraphWeight", "Location", "graph_weights", "lay_out", "write_data"]

_ALIGNMENT = 64
_HEADER = bytes([1]) + bytes(_ALIGNMENT - 1)  # 1: little endian


@dataclass(frozen=True)
class GraphWeight:
    """One parameter of the graphs: the source tensor that it is made of, and how."""

    name: str
    source: str
    shape: tuple[int, ...]
    make: Callable[[Float32Array], Float32Array]

    @property
    def nbytes(self) -> int:
        """Bytes of its float32 data."""
        return 4 * math.prod(self.shape)


@dataclass(frozen=True)
class Location:
    """Where a parameter's data lies: byte offset and length."""

    offset: int
    length: int


def _as_is(tensor: Float32Array) -> Float32Array:
    return tensor


def _transposed(tensor: Float32Array) -> Float32Array:
    return np.ascontiguousarray(tensor.T)


def graph_weights(config: ModelConfig) -> list[GraphWeight]:
    """Every parameter of the graphs, in the order in which a forward pass needs them.

    Matrices turn from [out, in] into [in, out]; 1 / sqrt(head_dim) of the attention goes into the last weights that the
    query meets: its norm's, or else its projection's.
    """
    scale = np.float32(1.0 / math.sqrt(config.head_dim))
    of_projection, of_norm = (None, scale) if config.qk_norm else (scale, None)
    shapes = config.tensor_shapes()

    def matrix(name: str, source: str, factor: np.float32 | None = None) -> GraphWeight:
        rows, columns = shapes[source]
        make = _transposed if factor is None else lambda tensor: _transposed(tensor * factor)
        return GraphWeight(name, source, (columns, rows), make)

    def vector(name: str, source: str, factor: np.float32 | None = None) -> GraphWeight:
        make = _as_is if factor is None else lambda tensor: tensor * factor
        return GraphWeight(name, source, shapes[source], make)

    weights = [GraphWeight("embedding", "embed_tokens", shapes["embed_tokens"], _as_is)]
    for layer in range(config.layers):
        to, of = f"layers.{layer}.", f"layers.{layer}."
        project = to + "attention.project."
        weights.append(vector(to + "input_norm.weight", of + "input_norm"))
        for part, factor in (("q", of_projection), ("k", None), ("v", None)):
            weights.append(matrix(f"{project}{part}.weight", f"{of}{part}_proj", factor))
            if config.qkv_bias:
                weights.append(vector(f"{project}{part}.bias", f"{of}{part}_bias", factor))
        if config.qk_norm:
            weights.append(vector(to + "attention.q_norm.weight", of + "q_norm", of_norm))
            weights.append(vector(to + "attention.k_norm.weight", of + "k_norm"))
        weights.append(matrix(project + "output.weight", of + "o_proj"))
        if config.output_bias:
            weights.append(vector(project + "output.bias", of + "o_bias"))
        weights.append(vector(to + "post_attention_norm.weight", of + "post_attention_norm"))
        for part in ("gate", "up", "down"):
            weights.append(matrix(f"{to}feed_forward.{part}.weight", f"{of}{part}_proj"))
            if config.mlp_bias:
                weights.append(vector(f"{to}feed_forward.{part}.bias", f"{of}{part}_bias"))
    weights.append(vector("norm.weight", "norm"))
    weights.append(matrix("head.weight", "embed_tokens" if config.tied_embeddings else "lm_head"))
    return weights


def lay_out(weights: list[GraphWeight]) -> dict[str, Location]:
    """Places every parameter in the data file."""
    places = {}
    offset = len(_HEADER)
    for weight in weights:
        places[weight.name] = Location(offset, weight.nbytes)
        offset += -(-weight.nbytes // _ALIGNMENT) * _ALIGNMENT
    return places


def write_data(
    source: Source, weights: list[GraphWeight], places: Mapping[str, Location], path: Path, progress: Progress
) -> None:
    """Writes the data file, one tensor in memory at a time. Raises CheckpointError for a tensor of another shape."""
    stage = "writing weights"
    progress(stage, 0, len(weights))
    with path.open("wb") as file:
        file.write(_HEADER)
        for done, weight in enumerate(weights, start=1):
            data = weight.make(source.tensor(weight.source))
            if data.shape != weight.shape or data.dtype != np.float32:
                raise CheckpointError(
                    f"tensor {weight.source} gives {data.dtype} {list(data.shape)} for the graph's {weight.name}; "
                    f"float32 {list(weight.shape)} was expected"
                )
            place = places[weight.name]
            file.write(bytes(place.offset - file.tell()))
            file.write(np.ascontiguousarray(data).data.cast("B"))
            progress(stage, done, len(weights))
