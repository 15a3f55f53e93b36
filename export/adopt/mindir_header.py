"""What a MindIR file says of its inputs, outputs, Parameters and operators, without MindSpore and without running it.

A MindIR file is a protobuf message `ModelProto` (mindspore/ccsrc/utils/mind_ir.proto; fields were read in MindSpore
2.7.2 and are the same since 1.6). Only these fields are looked at, and no content of a tensor is read:

    ModelProto      graph 7, functions 8, primitives 12
    GraphProto      node 1, parameter 3, input 5, output 6
    NodeProto       op_type 4                   PrimitiveProto  op_type 2
    ValueInfoProto  name 1, tensor 2, attr_info 5 (of a tuple of outputs)
    AttributeProto  tensors 12, values 17
    TensorProto     dims 1, data_type 2, name 7, external_data 12 (location 1)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from skywork_rt.checkpoints.mindspore.wire import BYTES, VARINT, Field, FileBytes, WireError, fields, whole_numbers
from skywork_rt.errors import CheckpointError

__all__ = ["MindIrHeader", "TensorHeader", "read_mindir_header"]

_TYPES = {1: "float32", 6: "int32", 7: "int64", 10: "float16", 16: "bfloat16"}
_MOST_NAME_BYTES = 4096
_MOST_DIMS = 16
_MOST_DEPTH = 4


@dataclass(frozen=True)
class TensorHeader:
    """Name, type ("int32"; "type 9" for others) and shape of an input or a Parameter; -1 is any size.

    MindSpore writes "name of the graph:name"; the graph's is left out.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass
class MindIrHeader:
    """Inputs and outputs in the graph's order, Parameters by name, names of operators, files of weights beside it."""

    path: Path
    inputs: list[TensorHeader] = field(default_factory=list)
    outputs: list[TensorHeader] = field(default_factory=list)
    parameters: dict[str, TensorHeader] = field(default_factory=dict)
    operators: set[str] = field(default_factory=set)
    external: set[str] = field(default_factory=set)


def read_mindir_header(path: Path) -> MindIrHeader:
    """Reads as much of the file as the header takes. Raises CheckpointError when it is no MindIR, or damaged."""
    header = MindIrHeader(path)
    try:
        with path.open("rb") as file:
            _Reader(FileBytes(file), header).read()
    except WireError as error:
        raise CheckpointError(f"{path} is no MindIR, or damaged: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not header.inputs:
        raise CheckpointError(f"{path} is no MindIR of a model: it has a graph without inputs, or none")
    return header


class _Reader:
    def __init__(self, data: FileBytes, header: MindIrHeader) -> None:
        self._data = data
        self._header = header

    def read(self) -> None:
        for part in fields(self._data, 0, len(self._data)):
            if part.number == 7:
                self._read_graph(part, main=True)
            elif part.number == 8:
                self._read_graph(part, main=False)
            elif part.number == 12:
                self._add_operator(part, 2)

    def _read_graph(self, graph: Field, main: bool) -> None:
        for part in self._parts(graph):
            if part.number == 1:
                self._add_operator(part, 4)
            elif part.number == 3:
                tensor = self._tensor(part)
                self._header.parameters[tensor.name] = tensor
            elif part.number == 5 and main:
                self._header.inputs.append(self._input(part))
            elif part.number == 6 and main:
                self._header.outputs += self._outputs(part, tensors=2, nested=5, depth=0)

    def _add_operator(self, message: Field, number: int) -> None:
        self._header.operators.update(self._text(part) for part in self._parts(message) if part.number == number)

    def _input(self, message: Field) -> TensorHeader:
        name, tensor = "", TensorHeader("", "no tensor", ())
        for part in self._parts(message):
            if part.number == 1:
                name = _own_name(self._text(part))
            elif part.number == 2:
                tensor = self._tensor(part)
        return TensorHeader(name, tensor.dtype, tensor.shape)

    def _outputs(self, message: Field, tensors: int, nested: int, depth: int) -> Iterator[TensorHeader]:
        """Those of a ValueInfoProto, or of an AttributeProto, which may hold others."""
        if depth > _MOST_DEPTH:
            raise WireError("outputs are nested too deeply")
        for part in self._parts(message):
            if part.number == tensors:
                yield self._tensor(part)
            elif part.number == nested:
                yield from self._outputs(part, tensors=12, nested=17, depth=depth + 1)

    def _tensor(self, message: Field) -> TensorHeader:
        name, dtype, dims = "", "type 0", list[int]()
        for part in self._parts(message):
            if part.number == 1:
                dims += whole_numbers(self._data, part)
            elif part.number == 2 and part.kind == VARINT:
                dtype = _TYPES.get(part.value, f"type {part.value}")
            elif part.number == 7:
                name = _own_name(self._text(part))
            elif part.number == 12:
                self._header.external.update(self._text(each) for each in self._parts(part) if each.number == 1)
            if len(dims) > _MOST_DIMS:
                raise WireError(f"a tensor has more than {_MOST_DIMS} dimensions")
        return TensorHeader(name, dtype, tuple(dims))

    def _parts(self, message: Field) -> Iterator[Field]:
        if message.kind != BYTES:
            raise WireError(f"field {message.number} is no message")
        return fields(self._data, message.start, message.stop)

    def _text(self, part: Field) -> str:
        if part.kind != BYTES or part.stop - part.start > _MOST_NAME_BYTES:
            raise WireError(f"field {part.number} is no name")
        return self._data[part.start : part.stop].decode("utf-8", errors="replace")


def _own_name(name: str) -> str:
    return name.rpartition(":")[2]
