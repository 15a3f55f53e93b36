"""Runs a device-cache graph, as it is in its file, in numpy: what no CPU has kernels for can be verified all the same.

Matrix products of float16 are summed in float32, as the device does; everything else has the types that the graph says.
A Load gives the Parameter itself and not a copy, so a graph that used an old value after a write would be found out.
Weights are mapped, not read: memory is that of one operation. Slow, and only as general as our graphs are: a primitive
that it lacks is an InternalError that names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.errors import CorruptBundleError, InternalError
from skywork_rt.export.graph.ascend import device_ops
from skywork_rt.export.graph.mindir import load_model

__all__ = ["DeviceGraph"]

Array = NDArray[Any]

_TYPES: Mapping[int, Any] = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16}
"""mind_ir.TensorProto.DataType."""
_CAST_TYPES: Mapping[int, Any] = {30: np.bool_, 34: np.int32, 35: np.int64, 42: np.float16, 43: np.float32}
"""MindSpore's TypeId, which Cast has as a number."""


class DeviceGraph:
    """One graph file with the weights beside it. `caches` are its Parameters without weights: name to array, in place.

    Give the same arrays to both graphs of a pair, as the device shares them.
    """

    def __init__(self, path: Path, caches: dict[str, Array] | None = None) -> None:
        self.model = load_model(path)
        self._primitives = {primitive.name: primitive for primitive in self.model.primitives}
        self.parameters = {value.name: _parameter(value, path.parent) for value in self.model.graph.parameter}
        self.caches = {} if caches is None else caches
        for name in [name for name in self.parameters if ".kvcache_mgr." in name]:
            if name not in self.caches:  # zeros take no memory before they are written
                self.caches[name] = np.zeros(self.parameters[name].shape, self.parameters[name].dtype)
        self.parameters |= self.caches

    def run(self, feeds: Mapping[str, Array]) -> tuple[Array, ...]:
        """The outputs for inputs by name: logits, tokens, mask."""
        values: dict[str, Any] = {**self.parameters, **{v.name: feeds[v.name] for v in self.model.graph.input}}
        for node in self.model.graph.node:
            if node.op_type == "Constant":
                values[node.output[0]] = _attribute(node.attribute[0])
                continue
            primitive = self._primitives[node.op_type.removeprefix("REF::")]
            values[node.output[0]] = self._compute(primitive, [values[name] for name in node.input])
        outputs = [values[value.name] for value in self.model.graph.output]
        return outputs[0] if isinstance(outputs[0], tuple) else tuple(outputs)

    def _compute(self, primitive: Any, inputs: list[Any]) -> Any:
        compute = _PRIMITIVES.get(primitive.op_type)
        if compute is None:
            raise InternalError(f"the interpreter has no primitive {primitive.op_type}")
        return compute({a.name: _attribute(a) for a in primitive.attribute}, *inputs)


def _parameter(value: Any, folder: Path) -> Array:
    place, shape, dtype = value.external_data, tuple(value.dims), np.dtype(_TYPES[value.data_type])
    path = folder / place.location
    if place.length != math.prod(shape) * dtype.itemsize or path.stat().st_size < place.offset + place.length:
        raise CorruptBundleError(f"{value.name} [{', '.join(map(str, shape))}] does not fit {path}")
    return np.memmap(path, dtype, "r", place.offset, shape)


def _attribute(attribute: Any) -> Any:
    """A constant. Inside tuples, numbers stand in the lists of their kind."""
    kind = type(attribute).AttributeType.Name(attribute.type)
    if kind in ("TENSOR", "TENSORS"):
        tensor = attribute.t if kind == "TENSOR" else attribute.tensors[0]
        return np.frombuffer(tensor.raw_data, _TYPES[tensor.data_type]).reshape(tuple(tensor.dims))
    if kind in ("TUPLE", "LIST"):
        return tuple(_attribute(value) for value in attribute.values)
    if kind in ("BOOL", "INT32", "INT64"):
        return attribute.ints[0] if attribute.ints else attribute.i
    if kind in ("FLOAT", "DOUBLE"):
        return attribute.floats[0] if attribute.floats else attribute.f or attribute.d
    if kind == "STRING":
        return (attribute.strings[0] if attribute.strings else attribute.s).decode()
    if kind in ("UMONAD", "NONE"):
        return None
    raise InternalError(f"the interpreter has no constants of kind {kind}")


def _product(flags: Mapping[str, Any], a: Array, b: Array) -> Array:
    left, right = (np.swapaxes(x, -1, -2) if flags[f"transpose_{name}"] else x for name, x in (("a", a), ("b", b)))
    product: Array = left.astype(np.float32, copy=False) @ right.astype(np.float32, copy=False)
    return product.astype(a.dtype, copy=False)


def _gather(flags: Mapping[str, Any], table: Array, index: Array, axis: Any) -> Array:
    """Indices that are outside are refused: MindSpore's backends do not agree on them."""
    if (index < 0).any() or (index >= table.shape[int(axis)]).any():
        raise InternalError(f"Gather of {index.tolist()} out of {table.shape[int(axis)]}")
    if flags["batch_dims"] == 0:
        return np.take(table, index, int(axis))
    return np.stack([np.take(t, i, int(axis) - 1) for t, i in zip(table, index, strict=True)])


def _softmax(flags: Mapping[str, Any], x: Array) -> Array:
    (axis,) = flags["axis"]
    weights = np.exp(x.astype(np.float32) - x.max(axis=axis, keepdims=True))
    result: Array = (weights / weights.sum(axis=axis, keepdims=True)).astype(x.dtype)
    return result


def _strided_slice(_: Any, x: Array, begin: Any, end: Any, strides: Any) -> Array:
    return x[tuple(slice(*part) for part in zip(begin, end, strides, strict=True))]


def _assign(_: Any, parameter: Array, value: Array, *__: Any) -> Array:
    if parameter.shape != value.shape or parameter.dtype != value.dtype:
        raise InternalError(f"Assign of {value.dtype} {value.shape} to {parameter.dtype} {parameter.shape}")
    parameter[...] = value
    return parameter


def _elementwise(function: Callable[..., Any], numbers: bool = True) -> Callable[..., Array]:
    """Of arrays of one type, which a plain number takes on; comparisons give truth values."""

    def compute(_: Any, a: Array, *others: Any) -> Array:
        arrays = [np.asarray(other, a.dtype) if np.ndim(other) == 0 else other for other in others]
        if any(array.dtype != a.dtype for array in arrays):
            raise InternalError(f"{function} of {a.dtype} and {[array.dtype for array in arrays]}")
        result = np.asarray(function(a, *arrays))
        return result.astype(a.dtype, copy=False) if numbers else result

    return compute


def _axes(axis: Any) -> tuple[int, ...]:
    return tuple(int(a) for a in axis) if isinstance(axis, tuple) else (int(axis),)


_PRIMITIVES: Mapping[str, Callable[..., Any]] = {
    "Add": _elementwise(np.add),
    "Assign": _assign,
    "BatchMatMul": _product,
    "Cast": lambda _, x, kind: x.astype(_CAST_TYPES[int(kind)]),
    "Concat": lambda flags, parts: np.concatenate(parts, flags["axis"]),
    "DecoderKVCache": lambda _, *inputs: device_ops.decoder_kv_cache(*inputs[:-1]),
    "Depend": lambda _, x, *order: x,
    "Equal": _elementwise(np.equal, numbers=False),
    "Gather": _gather,
    "Greater": _elementwise(np.greater, numbers=False),
    "Less": _elementwise(np.less, numbers=False),
    "Load": lambda _, x, *order: x,
    "MakeTuple": lambda _, *parts: tuple(parts),
    "MatMul": _product,
    "Minimum": _elementwise(np.minimum),
    "Mul": _elementwise(np.multiply),
    "NotEqual": _elementwise(np.not_equal, numbers=False),
    "OnesLike": lambda _, x: np.ones_like(x),
    "PagedAttention": lambda flags, *inputs: device_ops.paged_attention(
        *inputs, **{name: flags[name] for name in ("head_num", "scale_value", "kv_head_num")}
    ),
    "PromptKVCache": lambda _, *inputs: device_ops.prompt_kv_cache(*inputs[:-1]),
    "RealDiv": _elementwise(np.divide),
    "ReduceMean": lambda flags, x, axis: x.mean(_axes(axis), keepdims=bool(flags["keep_dims"]), dtype=x.dtype),
    "ReduceSum": lambda flags, x, axis: x.sum(_axes(axis), keepdims=bool(flags["keep_dims"]), dtype=x.dtype),
    "Reshape": lambda _, x, shape: x.reshape(tuple(int(size) for size in shape)),
    "ReshapeAndCache": lambda _, *inputs: device_ops.reshape_and_cache(*inputs[:-1]),
    "Shape": lambda _, x: x.shape,
    "Sigmoid": _elementwise(lambda x: 1 / (1 + np.exp(-x.astype(np.float32)))),
    "Softmax": _softmax,
    "Split": lambda flags, x: tuple(np.split(x, flags["output_num"], flags["axis"])),
    "Sqrt": _elementwise(np.sqrt),
    "StridedSlice": _strided_slice,
    "Sub": _elementwise(np.subtract),
    "Transpose": lambda _, x, order: x.transpose(tuple(int(axis) for axis in order)),
    "TupleGetItem": lambda _, parts, index: parts[int(index)],
    "UpdateState": lambda *_: None,
}
