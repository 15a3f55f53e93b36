"""A checkpoint's weights, quantised and packed tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import ModelConfig, RawTensor, Source
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.export.quantise.layout import PANEL_ROWS
from skywork_rt.export.quantise.types import GGUF, TYPES, WEIGHTS
from skywork_rt.export.quantise.weights_file import open_weights
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["VOCABULARY_TENSORS", "kind_of", "largest_weights_bytes", "quantise_weights"]

VOCABULARY_TENSORS = ("embed_tokens", "lm_head")
_RAW_KINDS = {raw: one.name for one in TYPES.values() for raw in one.raw_types}
"""The smallest type that carries blocks of GGUF's type over: `TYPES` begins with the largest."""
_PIECE_ELEMENTS = 1 << 21


def quantise_weights(source: Source, name: str, path: Path, progress: Progress = no_progress) -> None:
    """Writes the weights file `name` (one of `WEIGHTS`) of a checkpoint to `path`.

    What a type makes of weights is said in its module in `types`. Where a GGUF file already holds blocks that a type
    takes without loss, they are carried over. Needs memory for a piece of one tensor (about 100 MB), or for one matrix
    of a source that cannot read rows.

    Raises InvalidArgumentError for an unknown name, CheckpointError for weights that are not finite or too large.
    """
    if name not in WEIGHTS:
        raise InvalidArgumentError(f"unknown weights {name!r}; known are {', '.join(WEIGHTS)}")
    shapes = source.config.tensor_shapes()
    stage = f"weights {name}"
    total, done, lossless = len(shapes), 0, True
    progress(stage, 0, total)
    with open_weights(path, source.config) as writer:
        for tensor, shape in shapes.items():
            if len(shape) != 2:
                continue
            raw_type = source.raw_type(tensor)
            kind = kind_of(name, tensor, raw_type)
            carried = source.raw(tensor) if raw_type in TYPES[kind].raw_types else None
            lossless &= carried is not None or TYPES[kind].lossless
            writer.matrix(tensor, kind, *shape, _pieces(source, tensor, shape, kind, carried))
            progress(stage, done := done + 1, total)
        for tensor, shape in shapes.items():
            if len(shape) == 1:
                writer.vector(tensor, source.tensor(tensor))
                progress(stage, done := done + 1, total)
        writer.facts["lossless"] = str(lossless).lower()


def kind_of(name: str, tensor: str, raw_type: str | None) -> str:
    """How `tensor`, of this type in its GGUF file, is stored in the weights `name`."""
    if name == GGUF:
        if raw_type is None:
            raise InvalidArgumentError("weights gguf are those of a GGUF file as they are, and the source is none")
        if raw_type not in _RAW_KINDS:
            raise UnsupportedError(
                f"tensor {tensor} has GGUF's type {raw_type}, which no kernel computes with (there are "
                f"{', '.join(_RAW_KINDS)}); take a file of such types, or round it anew with --weights int8"
            )
        return _RAW_KINDS[raw_type]
    vocabulary = TYPES[name].vocabulary
    if vocabulary is None or tensor not in VOCABULARY_TENSORS:
        return name
    return name if raw_type in TYPES[name].raw_types else vocabulary


def largest_weights_bytes(config: ModelConfig, name: str) -> int:
    """Bytes of the weights file `name` of a model of this shape, at most: a GGUF's vocabulary may be smaller.

    Of the weights "gguf", which a shape does not tell, those in float32: `gguf_weights_bytes` knows more.
    """
    kind = "f32" if name == GGUF else name
    return _file_bytes(config, lambda tensor: kind_of(kind, tensor, None))


def gguf_weights_bytes(source: Source) -> int:
    """Bytes of the weights "gguf" of a source."""
    return _file_bytes(source.config, lambda tensor: kind_of(GGUF, tensor, source.raw_type(tensor)))


def _file_bytes(config: ModelConfig, kind_of_tensor: Callable[[str], str]) -> int:
    header = 4096 + 256 * len(config.tensor_shapes())
    return header + sum(
        math.prod(TYPES[kind_of_tensor(tensor)].packed_shape(*shape)) if len(shape) == 2 else 4 * math.prod(shape)
        for tensor, shape in config.tensor_shapes().items()
    )


def _pieces(
    source: Source, tensor: str, shape: tuple[int, ...], kind: str, raw: RawTensor | None
) -> Iterator[NDArray[np.uint8]]:
    rows, columns = shape
    pack_raw = TYPES[kind].pack_raw
    step = max(PANEL_ROWS, _PIECE_ELEMENTS // columns // PANEL_ROWS * PANEL_ROWS)
    for start in range(0, rows, step):
        stop = min(rows, start + step)
        if raw is not None and pack_raw is not None:
            yield pack_raw(raw, start, stop)
        else:
            pack = TYPES[kind].pack
            assert pack is not None, kind
            yield pack(source.rows(tensor, start, stop), tensor)
