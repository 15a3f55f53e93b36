"""A checkpoint's weights, quantised and packed tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, ModelConfig, RawTensor, Source
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.export.quantise.codes import from_raw, to_int4, to_int8
from skywork_rt.export.quantise.layout import PANEL_ROWS, pack_bf16, pack_f32, pack_int4, pack_int8, packed_shape
from skywork_rt.export.quantise.weights_file import open_weights
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["VOCABULARY_TENSORS", "WEIGHTS", "kind_of", "largest_weights_bytes", "quantise_weights"]

WEIGHTS = ("f32", "bf16", "int8", "int4")
"""The names that `quantise_weights` knows."""

VOCABULARY_TENSORS = ("embed_tokens", "lm_head")
_RAW_KINDS = {"Q8_0": "int8", "Q4_0": "int4", "Q4_1": "int4"}
_PIECE_ELEMENTS = 1 << 21

_PACKERS: dict[str, Callable[[Float32Array, str], NDArray[np.uint8]]] = {
    "f32": lambda rows, name: pack_f32(rows),
    "bf16": lambda rows, name: pack_bf16(rows),
    "int8": lambda rows, name: pack_int8(to_int8(rows, name)),
    "int4": lambda rows, name: pack_int4(to_int4(rows, name)),
}


def quantise_weights(source: Source, name: str, path: Path, progress: Progress = no_progress) -> None:
    """Writes the weights file `name` ("f32", "bf16", "int8" or "int4") of a checkpoint to `path`.

    int8 is symmetric in groups of 32 with a float16 scale (8.5 bits a weight), int4 has a scale and a minimum a group
    (5 bits). With int4 the embedding and the head stay int8: they are few and errors there cost most. Where a GGUF
    file already holds blocks of that kind (Q8_0; Q4_0, Q4_1), they are carried over without loss. Needs memory for a
    piece of one tensor (about 100 MB), or for one matrix of a source that cannot read rows.

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
            raw = source.raw(tensor)
            kind = kind_of(name, tensor, raw)
            carried = raw if raw is not None and _RAW_KINDS[raw.type] == kind else None
            lossless &= carried is not None or kind == "f32"
            writer.matrix(tensor, kind, *shape, _pieces(source, tensor, shape, kind, carried))
            progress(stage, done := done + 1, total)
        for tensor, shape in shapes.items():
            if len(shape) == 1:
                writer.vector(tensor, source.tensor(tensor))
                progress(stage, done := done + 1, total)
        writer.facts["lossless"] = str(lossless).lower()


def kind_of(name: str, tensor: str, raw: RawTensor | None) -> str:
    """How `tensor` is stored in the weights `name`."""
    if name != "int4" or tensor not in VOCABULARY_TENSORS:
        return name
    return _RAW_KINDS[raw.type] if raw is not None else "int8"


def largest_weights_bytes(config: ModelConfig, name: str) -> int:
    """Bytes of the weights file `name` of a model of this shape, at most: a GGUF's int4 vocabulary makes it smaller."""
    header = 4096 + 256 * len(config.tensor_shapes())
    return header + sum(
        math.prod(packed_shape(kind_of(name, tensor, None), *shape)) if len(shape) == 2 else 4 * math.prod(shape)
        for tensor, shape in config.tensor_shapes().items()
    )


def _pieces(
    source: Source, tensor: str, shape: tuple[int, ...], kind: str, raw: RawTensor | None
) -> Iterator[NDArray[np.uint8]]:
    rows, columns = shape
    step = max(PANEL_ROWS, _PIECE_ELEMENTS // columns // PANEL_ROWS * PANEL_ROWS)
    for start in range(0, rows, step):
        stop = min(rows, start + step)
        if raw is not None:
            codes = from_raw(raw, start, stop)
            yield pack_int8(codes) if kind == "int8" else pack_int4(codes)
        else:
            yield _PACKERS[kind](source.rows(tensor, start, stop), tensor)
