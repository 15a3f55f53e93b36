"""MindIR files put together byte by byte, in the fields that skywork_rt.export.adopt looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from skywork_rt.checkpoints.mindspore.wire import VARINT, length_prefix, varint

TYPES = {"float32": 1, "int32": 6, "int64": 7, "float16": 10}
Tensor = tuple[str, Sequence[int]]
"""Type and shape."""


def message(number: int, content: bytes) -> bytes:
    return length_prefix(number, len(content)) + content


def number(field: int, value: int) -> bytes:
    return varint(field << 3 | VARINT) + varint(value)


def tensor(name: str, kind: str, shape: Sequence[int], external: str | None = None) -> bytes:
    body = b"".join(number(1, size) for size in shape) + number(2, TYPES[kind]) + message(7, name.encode())
    return body + (message(12, message(1, external.encode())) if external is not None else b"")


def write_mindir(
    path: Path,
    inputs: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    operators: Sequence[str],
    external: str | None = None,
    logits: Tensor = ("float32", (2, 512)),
) -> Path:
    """`external`: where all Parameters but the caches have their content."""
    graph = b"".join(message(1, message(4, operator.encode())) for operator in operators)
    for name, (kind, shape) in parameters.items():
        outside = None if "_past" in name or "_cache" in name else external
        graph += message(3, tensor(f"net:{name}", kind, shape, outside))
    for name, (kind, shape) in inputs.items():
        graph += message(5, message(1, f"net:{name}".encode()) + message(2, tensor(name, kind, shape)))
    outputs = (tensor("", *logits), tensor("", "int32", (2, 1)))  # a tuple, as MindSpore writes it
    graph += message(6, message(4, b"Tuple") + message(5, b"".join(message(17, message(12, out)) for out in outputs)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(message(1, b"0.1.0") + message(7, graph) + number(13, 3))
    return path


def caches(layers: int, shape: Sequence[int], names: str = "past", kind: str = "float16") -> dict[str, Tensor]:
    place = "model.layers.{}.attention.kvcache_mgr.{}_" + names
    return {place.format(layer, part): (kind, shape) for layer in range(layers) for part in ("key", "value")}


def rows_inputs(batch: int, length: int, active: int) -> dict[str, Tensor]:
    return {
        "tokens": ("int32", (batch, length)),
        "batch_valid_length": ("int32", (batch,)),
        "batch_index": ("int64", (batch,)),
        "zactivate_len": ("int64", (active,)),
    }
