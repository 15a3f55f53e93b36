"""The bytes of a MindSpore .ckpt, equal to mindspore.save_checkpoint's (2.7.2); `ckpt_file` describes the format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from skywork_rt.checkpoints.mindspore.wire import length_prefix, varint
from skywork_rt.checkpoints.tensors.ckpt_file import CKPT_TYPES
from skywork_rt.checkpoints.tensors.file_layout import TensorSpec
from skywork_rt.errors import UnsupportedError

__all__ = ["SLICE_BYTES", "CkptLayout"]

SLICE_BYTES = 512 << 20
"""A longer tensor is cut into values of so many bytes, as MindSpore does."""


class CkptLayout:
    """See `FileLayout`. Raises UnsupportedError for a tensor that the format cannot hold: one without elements would
    come back as a number without dimensions."""

    def __init__(self, tensors: Sequence[TensorSpec]) -> None:
        self._tensors, self._slice = list(tensors), SLICE_BYTES
        self._spans: list[tuple[int, int]] = []
        position = 0
        for tensor in self._tensors:
            if tensor.nbytes == 0:
                raise UnsupportedError(
                    f"tensor {tensor.name} of shape {list(tensor.shape)} has no elements, which a .ckpt cannot hold "
                    "(MindSpore reads it back as a number); write a .safetensors file instead"
                )
            stop = position + sum(len(_prefix(tensor, size)) + size for size in self._sizes(tensor))
            self._spans.append((position, stop))
            position = stop

    @property
    def head(self) -> bytes:
        return b""

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        return self._spans

    def pieces(self, index: int, content: memoryview) -> Iterator[bytes | memoryview]:
        tensor, position = self._tensors[index], 0
        for size in self._sizes(tensor):
            yield _prefix(tensor, size)
            yield content[position : position + size]
            position += size

    def tail(self, checksums: Sequence[int]) -> bytes:
        del checksums
        return b""

    def _sizes(self, tensor: TensorSpec) -> list[int]:
        whole, rest = divmod(tensor.nbytes, self._slice)
        return [self._slice] * whole + [rest] * (rest > 0)


def _prefix(tensor: TensorSpec, size: int) -> bytes:
    """What stands before `size` bytes of the tensor's content."""
    name, kind = tensor.name.encode("utf-8"), CKPT_TYPES[tensor.dtype].encode()
    body = b"".join(b"\x08" + varint(dim) for dim in tensor.shape)
    body += length_prefix(2, len(kind)) + kind + length_prefix(3, size)
    value = length_prefix(1, len(name)) + name + length_prefix(2, len(body) + size) + body
    return length_prefix(1, len(value) + size) + value
