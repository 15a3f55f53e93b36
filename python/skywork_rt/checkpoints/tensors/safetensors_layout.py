"""The bytes of a .safetensors file; `safetensors_file` describes the format."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skywork_rt.checkpoints.tensors.file_layout import TensorSpec
from skywork_rt.checkpoints.tensors.safetensors_file import SAFETENSORS_TYPES

__all__ = ["SafetensorsLayout"]


class SafetensorsLayout:
    """See `FileLayout`. Tensors lie in the order given; `metadata` says who wrote the names ({"format": "pt"})."""

    def __init__(self, tensors: Sequence[TensorSpec], metadata: Mapping[str, str]) -> None:
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        position, ends = 0, []
        for tensor in tensors:
            stop = position + tensor.nbytes
            kind, shape = SAFETENSORS_TYPES[tensor.dtype], list(tensor.shape)
            header[tensor.name] = {"dtype": kind, "shape": shape, "data_offsets": [position, stop]}
            ends.append((position, stop))
            position = stop
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % 8)
        self._head = struct.pack("<Q", len(text)) + text
        self._spans = [(len(self._head) + start, len(self._head) + stop) for start, stop in ends]

    @property
    def head(self) -> bytes:
        return self._head

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        return self._spans

    def pieces(self, index: int, content: memoryview) -> Iterator[bytes | memoryview]:
        del index
        yield content

    def tail(self, checksums: Sequence[int]) -> bytes:
        del checksums
        return b""
