"""Reads the table of tensors in a torch checkpoint's pickle without the power to run anything.

``pickle.Unpickler`` with a filter still hands the stream a stack machine that builds any object and hashes any key.
This is a machine of our own instead: it decodes opcodes with ``pickletools`` and executes only those that torch writes
for a dictionary of tensors. The two functions and one class that may be called are names here, not Python objects; any
other global is refused by name.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skywork_rt.errors import CheckpointError

__all__ = ["StorageRef", "TensorRef", "read_tensor_table"]

_LARGEST_PICKLE = 64 << 20  # the table of a model with 100,000 tensors is 20 MB

_STORAGE_DTYPES = {
    "torch FloatStorage": "float32",
    "torch HalfStorage": "float16",
    "torch BFloat16Storage": "bfloat16",
    "torch DoubleStorage": "float64",
    "torch LongStorage": "int64",
    "torch IntStorage": "int32",
    "torch BoolStorage": "bool",
    "torch ByteStorage": "uint8",
    "torch CharStorage": "int8",
    "torch ShortStorage": "int16",
}
_ORDERED_DICT = "collections OrderedDict"
_REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
_REBUILD_PARAMETER = "torch._utils _rebuild_parameter"
_ALLOWED = {_ORDERED_DICT, _REBUILD_TENSOR, _REBUILD_PARAMETER, *_STORAGE_DTYPES}


@dataclass(frozen=True)
class StorageRef:
    """A storage that the pickle points to: the name of its member in the archive, and its elements."""

    key: str
    dtype: str
    elements: int


@dataclass(frozen=True)
class TensorRef:
    """A tensor as a view of a storage; offset and stride count elements."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Global:
    name: str


class _Mark:
    pass


def read_tensor_table(data: bytes, where: str) -> dict[str, TensorRef]:
    """The tensors of a state dict. Raises CheckpointError for anything else, naming what it tried to do."""
    if len(data) > _LARGEST_PICKLE:
        raise CheckpointError(f"{where} has {len(data)} bytes; a table of tensors takes at most {_LARGEST_PICKLE}")
    machine = _Machine(where)
    try:
        table = machine.run(data)
    except CheckpointError:
        raise
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        raise CheckpointError(f"{where} is damaged: {error}") from error
    if not isinstance(table, dict):
        raise CheckpointError(f"{where} holds a {type(table).__name__}; expected a dictionary of tensors")
    for name, value in table.items():
        if not isinstance(name, str) or not isinstance(value, TensorRef):
            raise CheckpointError(
                f"{where} has an entry {_describe(name)} that is no tensor; only a state dict is read"
            )
    return table


class _Machine:
    """A stack machine for the opcodes of pickle protocol 2 that torch.save writes."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return self._stack.pop()
            step = _STEPS.get(opcode.name)
            if step is None:
                raise CheckpointError(f"{self._where} uses the pickle operation {opcode.name}, which no tensor needs")
            step(self, argument)
        raise CheckpointError(f"{self._where} ends before its pickle does")

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        if not self._stack or isinstance(self._stack[-1], _Mark):
            raise ValueError("the pickle takes from an empty stack")
        return self._stack.pop()

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while not isinstance(self._stack[-1], _Mark):
            items.append(self._stack.pop())
        self._stack.pop()
        items.reverse()
        return items

    def push_global(self, argument: Any) -> None:
        if argument not in _ALLOWED:
            shown = _describe(argument).replace(" ", ".")
            raise CheckpointError(f"{self._where} asks for {shown}: only weights are read, nothing is imported or run")
        self.push(_Global(argument))

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self.push_global(f"{_describe(module)} {_describe(name)}")

    def push_storage(self, _: Any) -> None:
        reference = self.pop()
        if not (isinstance(reference, tuple) and len(reference) == 5 and reference[0] == "storage"):
            raise ValueError(f"a persistent id is a {_describe(reference)}; expected a storage")
        _, storage_type, key, _, elements = reference
        if not isinstance(storage_type, _Global) or storage_type.name not in _STORAGE_DTYPES:
            raise ValueError("a storage has no storage type")
        if not isinstance(key, str) or not _is_count(elements):
            raise ValueError(f"a storage has key {_describe(key)} and {_describe(elements)} elements")
        self.push(StorageRef(key, _STORAGE_DTYPES[storage_type.name], elements))

    def call(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise ValueError("the pickle calls something that is no function")
        call = _CALLS.get(function.name)
        if call is None:
            raise ValueError(f"the pickle calls {function.name.replace(' ', '.')}")
        self.push(call(arguments))

    def set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2 != 0:
            raise ValueError("the pickle sets items of something that is no dictionary")
        for key, value in zip(items[0::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise ValueError(f"a dictionary has a key of type {type(key).__name__}")
            target[key] = value

    def extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise ValueError("the pickle appends to something that is no list")
        target.extend(items)

    def build(self, _: Any) -> None:
        # torch keeps versions of modules in the attribute _metadata of a state dict: not wanted.
        self.pop()
        if not isinstance(self._stack[-1], dict):
            raise ValueError("the pickle sets the state of something that is no dictionary")

    def remember(self, key: Any) -> None:
        self._memo[len(self._memo) if key is None else key] = self._stack[-1]

    def recall(self, key: Any) -> None:
        self.push(self._memo[key])


def _describe(value: Any) -> str:
    """Strings and numbers as they are, anything else by its type: a small pickle can hold a value of endless length."""
    return str(value)[:120] if isinstance(value, str | int) else type(value).__name__


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _counts(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(_is_count(item) for item in value):
        raise ValueError(f"a tensor has a {what} that is no tuple of whole numbers")
    return value


def _make_ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if arguments:
        raise ValueError("an OrderedDict is made with arguments")
    return {}


def _rebuild_tensor(arguments: tuple[Any, ...]) -> TensorRef:
    if not 6 <= len(arguments) <= 7:
        raise ValueError(f"a tensor is made from {len(arguments)} values; expected 6 or 7")
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(storage, StorageRef) or not _is_count(offset):
        raise ValueError("a tensor has no storage or no offset")
    shape, stride = _counts(shape, "shape"), _counts(stride, "stride")
    if len(shape) != len(stride) or len(shape) > 8:
        raise ValueError(f"a tensor has shape {shape} and stride {stride}")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.elements:
        raise ValueError(f"a tensor reaches element {last} of a storage of {storage.elements}")
    return TensorRef(storage, offset, shape, stride)


def _rebuild_parameter(arguments: tuple[Any, ...]) -> TensorRef:
    if not arguments or not isinstance(arguments[0], TensorRef):
        raise ValueError("a parameter is made from something that is no tensor")
    return arguments[0]


_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    _ORDERED_DICT: _make_ordered_dict,
    _REBUILD_TENSOR: _rebuild_tensor,
    _REBUILD_PARAMETER: _rebuild_parameter,
}


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(items)))

    return step


def _push(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "MARK": lambda machine, argument: machine.push(_Mark()),
    "EMPTY_DICT": lambda machine, argument: machine.push({}),
    "EMPTY_LIST": lambda machine, argument: machine.push([]),
    "EMPTY_TUPLE": lambda machine, argument: machine.push(()),
    "NONE": lambda machine, argument: machine.push(None),
    "NEWTRUE": lambda machine, argument: machine.push(True),
    "NEWFALSE": lambda machine, argument: machine.push(False),
    "BININT": _push,
    "BININT1": _push,
    "BININT2": _push,
    "LONG1": _push,
    "BINFLOAT": _push,
    "BINUNICODE": _push,
    "SHORT_BINUNICODE": _push,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": lambda machine, argument: machine.push(tuple(machine.pop_to_mark())),
    "SETITEM": lambda machine, argument: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, argument: machine.set_items(machine.pop_to_mark()),
    "APPEND": lambda machine, argument: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, argument: machine.extend(machine.pop_to_mark()),
    "GLOBAL": _Machine.push_global,
    "STACK_GLOBAL": _Machine.stack_global,
    "BINPERSID": _Machine.push_storage,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
}
