"""The Parameters of both graphs under MindFormers' names, and the files that hold their data.

A matrix stays [out, in], as MindFormers keeps it. Data goes beside the graph in the format of `mindspore.export`: files
of at most 1 GiB (a larger tensor has one of its own), each a header of 64 bytes and tensors at multiples of 64. The
cache's Parameters all refer to one block of zeros, in a file that is a hole: `mindspore.export` would write as many
zeros as the cache of every layer has, and a Parameter without data is loaded as whatever memory held.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from skywork_rt.checkpoints.mindspore.names import mindspore_name
from skywork_rt.checkpoints.model import ModelConfig, Source
from skywork_rt.errors import CheckpointError, UnsupportedError
from skywork_rt.export.device_cache import DeviceForm
from skywork_rt.support.stages import Progress

__all__ = ["DeviceWeight", "Layout", "Place", "cache_parameters", "device_weights", "lay_out", "write_data"]

FOLDER = "rank_0_variables"
"""Beside the graph; `mindspore.export` names it after the graph, and the graph names it."""

_ALIGNMENT = 64
_HEADER = bytes([1]) + bytes(_ALIGNMENT - 1)  # 1: little endian
_FILE_BYTES = 1 << 30
_CHUNK_VALUES = 1 << 24


@dataclass(frozen=True)
class DeviceWeight:
    """One Parameter: MindFormers' name, and the source's tensor whose values it has."""

    name: str
    source: str
    shape: tuple[int, ...]
    dtype: DTypeLike

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Place:
    """Where data lies: the path that the graph names, byte offset and length."""

    location: str
    offset: int
    length: int


@dataclass(frozen=True)
class Layout:
    """The place of every Parameter, caches included, and the sizes of the files by the paths that the graph names."""

    places: Mapping[str, Place]
    sizes: Mapping[str, int]
    zeros: str
    """The file that is a hole."""


def device_weights(config: ModelConfig, form: DeviceForm) -> list[DeviceWeight]:
    """Every Parameter but the cache, in the order in which a forward pass needs them. Norms are float32.

    Raises UnsupportedError for a part of the model that MindFormers has no name for.
    """
    sources = {mindspore_name(source): (source, shape) for source, shape in config.tensor_shapes().items()}
    if config.tied_embeddings:
        sources[mindspore_name("lm_head")] = "embed_tokens", (config.vocab_size, config.hidden_size)
    return [
        DeviceWeight(name, source, shape, np.float32 if "norm" in name else form.dtype)
        for name, (source, shape) in sources.items()
    ]


def cache_parameters(config: ModelConfig, form: DeviceForm) -> list[str]:
    """Names of the Parameters of the cache."""
    return [
        f"model.layers.{layer}.attention.kvcache_mgr.{part}"
        for layer in range(config.layers)
        for part in form.cache_names
    ]


def lay_out(config: ModelConfig, form: DeviceForm) -> Layout:
    """Gives every tensor its place. Parameters of one source and type, as those of a tied head, share theirs."""
    places: dict[str, Place] = {}
    sizes: dict[str, int] = {}
    shared: dict[tuple[str, DTypeLike], Place] = {}
    location, end = "", _FILE_BYTES
    for weight in device_weights(config, form):
        key = (weight.source, weight.dtype)
        if key not in shared:
            if end + weight.nbytes > _FILE_BYTES:
                location, end = f"{FOLDER}/data_{len(sizes)}", len(_HEADER)
            shared[key] = Place(location, end, weight.nbytes)
            end += -(-weight.nbytes // _ALIGNMENT) * _ALIGNMENT
            sizes[location] = end
        places[weight.name] = shared[key]
    zeros = f"{FOLDER}/data_{len(sizes)}"
    length = math.prod(form.cache_shape(config)) * np.dtype(form.dtype).itemsize
    sizes[zeros] = len(_HEADER) + length
    places |= dict.fromkeys(cache_parameters(config, form), Place(zeros, len(_HEADER), length))
    return Layout(places, sizes, zeros)


def write_data(
    source: Source, weights: Sequence[DeviceWeight], layout: Layout, folder: Path, progress: Progress
) -> None:
    """Writes the files below `folder`, a few rows in memory at a time.

    Raises CheckpointError for a tensor of another shape, UnsupportedError for a number that float16 cannot hold.
    """
    stage = "writing weights"
    progress(stage, 0, len(weights))
    (folder / FOLDER).mkdir()
    written: set[Place] = set()
    files: dict[str, BinaryIO] = {}
    try:
        for done, weight in enumerate(weights, start=1):
            place = layout.places[weight.name]
            if place not in written:
                written.add(place)
                _write(_file(files, folder, place.location), place, weight, source)
            progress(stage, done, len(weights))
        for location, size in layout.sizes.items():
            _file(files, folder, location).truncate(size)
    finally:
        for file in files.values():
            file.close()


def _file(files: dict[str, BinaryIO], folder: Path, location: str) -> BinaryIO:
    if location not in files:
        files[location] = (folder / location).open("wb")
        files[location].write(_HEADER)
    return files[location]


def _write(file: BinaryIO, place: Place, weight: DeviceWeight, source: Source) -> None:
    file.seek(place.offset)
    written = 0
    for block in _blocks(source, weight):
        data = _as_type(block, weight)
        file.write(np.ascontiguousarray(data).data.cast("B"))
        written += data.nbytes
    if written != weight.nbytes:
        raise CheckpointError(
            f"tensor {weight.source} has {written} bytes for the graph's {weight.name}; {weight.nbytes} were expected, "
            f"for shape {list(weight.shape)}"
        )


def _blocks(source: Source, weight: DeviceWeight) -> Iterator[NDArray[np.float32]]:
    if math.prod(weight.shape) <= _CHUNK_VALUES or len(weight.shape) < 2:
        yield source.tensor(weight.source)
        return
    rows, step = weight.shape[0], max(1, _CHUNK_VALUES // weight.shape[1])
    for start in range(0, rows, step):
        yield source.rows(weight.source, start, min(start + step, rows))


def _as_type(block: NDArray[np.float32], weight: DeviceWeight) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        data = block.astype(weight.dtype)
    if not np.isfinite(data).all() and np.isfinite(block).all():
        raise UnsupportedError(
            f"tensor {weight.source} reaches {float(np.abs(block).max()):.4g}, which float16 cannot hold (65504 at "
            "most); export with precision float32"
        )
    return data
