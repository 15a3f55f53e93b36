"""Writes the safetensors file of packed weights, tensor by tensor, without holding more than a piece of one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, ModelConfig
from skywork_rt.export.quantise.layout import ALIGNMENT
from skywork_rt.export.quantise.types import TYPES

__all__ = ["WeightsWriter", "open_weights"]

_FORMAT = "skywork_rt.weights"
_VERSION = 1


@contextmanager
def open_weights(path: Path, config: ModelConfig) -> Iterator[WeightsWriter]:
    """A writer that completes the header at the end; a file left by an exception is incomplete and is removed."""
    try:
        with path.open("wb") as file:
            writer = WeightsWriter(file, config)
            yield writer
            writer.finish()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class WeightsWriter:
    """Packed matrices in any order (U8, each a multiple of 64 bytes), then vectors (F32).

    What is put into `facts` goes into the file's metadata.
    """

    def __init__(self, file: BinaryIO, config: ModelConfig) -> None:
        self.facts: dict[str, str] = {}
        self._file = file
        self._entries: dict[str, object] = {}
        self._offset = 0
        self._weights = 0
        self._bits = 0
        # The data begins where the longest header that this model can have would end.
        most = 4 * config.parameter_count() + 4096
        longest_kind = max(TYPES, key=len)
        longest = {
            f"{name}.{longest_kind}": _entry("F32", (config.parameter_count(),) * 2, most, most)
            for name in config.tensor_shapes()
        }
        text = json.dumps({"__metadata__": {"facts": "x" * 1024}} | longest)
        self._data_start = _round_up(8 + len(text))
        file.seek(self._data_start)

    def matrix(self, name: str, kind: str, rows: int, columns: int, pieces: Iterable[NDArray[np.uint8]]) -> None:
        """Pieces are runs of panels, in order."""
        shape = TYPES[kind].packed_shape(rows, columns)
        written = 0
        for piece in pieces:
            written += self._file.write(np.ascontiguousarray(piece).data)
        if written != math.prod(shape):
            raise ValueError(f"{name} was given {written} bytes of {math.prod(shape)}")
        self._add(f"{name}.{kind}", "U8", shape, written)
        self._weights += rows * columns
        self._bits += 8 * written

    def vector(self, name: str, values: Float32Array) -> None:
        self._add(name, "F32", values.shape, self._file.write(np.ascontiguousarray(values, "<f4").tobytes()))

    def finish(self) -> None:
        metadata = {
            "format": _FORMAT,
            "version": str(_VERSION),
            "bits_per_weight": f"{self._bits / max(1, self._weights):.2f}",
            **self.facts,
        }
        text = json.dumps({"__metadata__": metadata} | self._entries).encode()
        size = self._data_start - 8
        if len(text) > size:
            raise ValueError(f"the header has {len(text)} bytes and room for {size}")
        self._file.seek(0)
        self._file.write(size.to_bytes(8, "little") + text.ljust(size))

    def _add(self, name: str, dtype: str, shape: tuple[int, ...], size: int) -> None:
        self._entries[name] = _entry(dtype, shape, self._offset, self._offset + size)
        self._offset += size


def _entry(dtype: str, shape: tuple[int, ...], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def _round_up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
