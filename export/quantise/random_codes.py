"""Random packed weights of any shape: valid blocks written directly, thirty times faster than quantising numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.synthetic.source import random_rows
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.export.quantise.layout import GROUP, PANEL_ROWS
from skywork_rt.export.quantise.types import RANDOM_WEIGHTS, TYPES
from skywork_rt.export.quantise.weight_type import WeightType
from skywork_rt.export.quantise.weights import kind_of
from skywork_rt.export.quantise.weights_file import open_weights
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["write_random_weights"]

_PIECE_BYTES = 1 << 24


def write_random_weights(
    config: ModelConfig, name: str, path: Path, seed: int = 0, progress: Progress = no_progress
) -> None:
    """Writes a weights file `name` (one of `RANDOM_WEIGHTS`) of random codes for a model of the given shape to `path`.

    Weights have standard deviation columns ** -0.5, so activations stay near 1. Needs some 50 MB of memory whatever
    the shape: Skywork-13B's 8.9 GB are written at the disk's speed.
    """
    if name not in RANDOM_WEIGHTS:
        raise InvalidArgumentError(f"random weights are {' or '.join(RANDOM_WEIGHTS)}, not {name!r}")
    shapes = config.tensor_shapes()
    stage, done = f"random weights {name}", 0
    progress(stage, 0, len(shapes))
    with open_weights(path, config) as writer:
        for tensor, shape in shapes.items():
            if len(shape) != 2:
                continue
            kind = kind_of(name, tensor, None)
            writer.matrix(tensor, kind, shape[0], shape[1], _pieces(TYPES[kind], shape[0], shape[1], seed + done))
            progress(stage, done := done + 1, len(shapes))
        for tensor, shape in shapes.items():
            if len(shape) == 1:
                writer.vector(tensor, random_rows(seed, tensor, shape, 0, shape[0]))
                progress(stage, done := done + 1, len(shapes))


def _pieces(kind: WeightType, rows: int, columns: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    generator = np.random.Generator(np.random.SFC64(seed))
    panels, panel_bytes = kind.packed_shape(rows, columns)
    scales = _scales(kind, columns)
    step = max(1, _PIECE_BYTES // panel_bytes)
    for start in range(0, panels, step):
        count = min(step, panels - start)
        piece = np.frombuffer(generator.bytes(count * panel_bytes), np.uint8).reshape(count, panel_bytes).copy()
        piece[:, : len(scales)] = scales
        yield piece


def _scales(kind: WeightType, columns: int) -> NDArray[np.uint8]:
    codes = kind.random
    if codes is None:
        raise ValueError(f"random bytes are no codes of {kind.name}")
    groups = -(-columns // GROUP)
    scale = columns**-0.5 / codes.deviation
    group = np.full(kind.scale_bytes // 2, scale, np.float16)
    group[PANEL_ROWS:] = -scale * codes.mean
    return np.tile(group, groups).view(np.uint8)
