"""The table of tensors in a torch checkpoint: the opcodes that torch.save writes for a dictionary of tensors."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence

from skywork_rt.checkpoints.tensors.file_layout import TensorSpec

__all__ = ["STORAGES", "state_dict_pickle"]

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
"""Our names of types to torch's classes."""


def state_dict_pickle(tensors: Sequence[TensorSpec]) -> bytes:
    """An ordered dictionary of contiguous tensors, one storage each, whose keys are 0, 1, … in the order given.

    torch.load reads it with weights_only=True: it names no function but those that rebuild tensors.
    """
    out = io.BytesIO()
    out.write(b"\x80\x02ccollections\nOrderedDict\n)R(")
    for index, tensor in enumerate(tensors):
        out.write(_text(tensor.name) + b"ctorch._utils\n_rebuild_tensor_v2\n((")
        out.write(_text("storage") + f"ctorch\n{STORAGES[tensor.dtype]}\n".encode() + _text(str(index)) + _text("cpu"))
        out.write(_int(math.prod(tensor.shape)) + b"tQ" + _int(0) + _ints(tensor.shape) + _ints(_strides(tensor.shape)))
        out.write(b"\x89ccollections\nOrderedDict\n)RtR")
    out.write(b"u.")
    return out.getvalue()


def _text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return b"X" + struct.pack("<I", len(raw)) + raw


def _int(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(9, "little")  # LONG1 has a sign
    return b"\x8a" + bytes([len(raw)]) + raw


def _ints(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(_int, values)) + b"t"


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
