"""From the MindIR that today's MindSpore writes (version 3) to the one that Lite 2.0 reads (version 1).

Between the two, many attributes of primitives became inputs of nodes: `MatMul(x, w, transpose_a, transpose_b)` was
`MatMul(x, w)` of a primitive with two attributes. Each node of such a primitive gets a private copy of it that carries
the constants as attributes again. Load, UpdateState and Depend, which order side effects that an inference graph does
not have, go. `RULES` is the whole knowledge: a primitive outside it is refused by name, because a graph that loads and
computes something else would be worse.

Only the graph is touched; weights may be in the file or beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skywork_rt.errors import UnsupportedError
from skywork_rt.export.graph.mindir import load_model, save_model

__all__ = ["LITE", "RULES", "Dialect", "Rule", "legalise", "legalise_file"]

MINDIR_VERSION = 1
"""What Lite 2.0 reads."""

_REFERENCE = "REF::"
_CONSTANT = "Constant"
_ATTRIBUTE_TYPES = ("INT64", "BOOL", "TUPLE")


@dataclass(frozen=True)
class Rule:
    """How one primitive is written in version 1.

    The first `inputs` inputs stay inputs; the constants after them become the attributes `attributes`, in order.
    Those in `as_list` turn from one number into a list of one.
    """

    inputs: int
    attributes: tuple[str, ...] = ()
    as_list: frozenset[str] = field(default_factory=frozenset)


RULES: Mapping[str, Rule] = {
    "Add": Rule(2),
    "BatchMatMul": Rule(2, ("transpose_a", "transpose_b")),
    "Concat": Rule(1, ("axis",)),
    "Exp": Rule(1),
    "Gather": Rule(3, ("batch_dims",)),
    "MatMul": Rule(2, ("transpose_a", "transpose_b")),
    "Maximum": Rule(2),
    "Mul": Rule(2),
    "RealDiv": Rule(2),
    "ReduceMax": Rule(2, ("keep_dims",)),
    "ReduceMean": Rule(2, ("keep_dims",)),
    "ReduceSum": Rule(2, ("keep_dims", "skip_mode")),
    "Reshape": Rule(2),
    "SiLU": Rule(1),
    "Sigmoid": Rule(1),
    "Softmax": Rule(1, ("axis",), frozenset({"axis"})),
    "Split": Rule(1, ("axis", "output_num")),
    "Sqrt": Rule(1),
    "StridedSlice": Rule(4, ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")),
    "Sub": Rule(2),
    "Transpose": Rule(2),
    "TupleGetItem": Rule(2),
}


@dataclass(frozen=True)
class Dialect:
    """What a kind of graph has in version 1.

    `bypassed` nodes are their first input; to `dropped` ones nothing but dropped inputs refers; `variadic` ones take
    any number of inputs and no attributes.
    """

    rules: Mapping[str, Rule]
    bypassed: frozenset[str]
    dropped: frozenset[str] = frozenset()
    variadic: frozenset[str] = frozenset({"MakeTuple"})


LITE = Dialect(RULES, frozenset({"Load", "Depend"}), frozenset({"UpdateState"}))
"""Graphs without side effects."""


def legalise(model: Any, input_names: Sequence[str] | None = None, dialect: Dialect = LITE) -> None:
    """Rewrites a ModelProto in place for Lite 2.0.

    `input_names` renames the graph's inputs in order; MindSpore's own names carry a prefix of the compilation. Raises
    UnsupportedError that names a primitive without a rule, a parameter of a primitive that is not a constant, or the
    numbers of inputs found and named.
    """
    _Legaliser(model, dialect).run(input_names)


def legalise_file(source: Path, target: Path, input_names: Sequence[str] | None = None) -> None:
    """`legalise` for a file: a single .mindir, or the graph file of a pair (its variables folder stays as it is)."""
    model = load_model(source)
    legalise(model, input_names)
    save_model(model, target)


class _Legaliser:
    """One pass over one model."""

    def __init__(self, model: Any, dialect: Dialect) -> None:
        self._model = model
        self._dialect = dialect
        self._graph = model.graph
        self._primitives = {primitive.name: primitive for primitive in model.primitives}
        self._constants = {node.output[0]: node for node in self._graph.node if node.op_type == _CONSTANT}
        self._renamed: dict[str, str] = {}  # value -> the value that replaces it
        self._private: list[Any] = []  # primitives of the new model

    def run(self, input_names: Sequence[str] | None) -> None:
        if self._model.functions:
            names = ", ".join(function.name for function in self._model.functions)
            raise UnsupportedError(f"the graph calls sub-graphs ({names}), which Lite 2.0 cannot take")
        self._bypass_ordering()
        kept = [node for node in self._graph.node if self._keep(node)]
        for node in kept:
            self._rewrite(node)
        used = {name for node in kept for name in node.input} | {value.name for value in self._graph.output}
        kept = [node for node in kept if node.op_type != _CONSTANT or node.output[0] in used]
        self._replace_nodes(kept)
        if input_names is not None:
            self._rename_inputs(input_names)
        self._model.mind_ir_version = MINDIR_VERSION

    def _primitive_of(self, node: Any) -> Any:
        name = node.op_type.removeprefix(_REFERENCE)
        if not node.op_type.startswith(_REFERENCE) or name not in self._primitives:
            raise UnsupportedError(f"node {node.name} is of kind {node.op_type}, which Lite 2.0 cannot take")
        return self._primitives[name]

    def _bypass_ordering(self) -> None:
        """Points every reader of a Load or Depend at what it passes on."""
        for node in self._graph.node:  # in order of computation, so chains resolve in one pass
            if node.op_type != _CONSTANT and self._primitive_of(node).op_type in self._dialect.bypassed:
                self._renamed[node.output[0]] = self._resolve(node.input[0])

    def _resolve(self, name: str) -> str:
        return self._renamed.get(name, name)

    def _keep(self, node: Any) -> bool:
        gone = self._dialect.bypassed | self._dialect.dropped
        return node.op_type == _CONSTANT or self._primitive_of(node).op_type not in gone

    def _rewrite(self, node: Any) -> None:
        """Gives a node its resolved inputs and a primitive of its own."""
        if node.op_type == _CONSTANT:
            return
        original = self._primitive_of(node)
        inputs = [self._resolve(name) for name in node.input]
        primitive = type(original)()
        primitive.CopyFrom(original)
        primitive.name = f"{original.op_type}:{len(self._private)}"
        if original.op_type not in self._dialect.variadic:
            inputs = self._move_constants(node, original.op_type, inputs, primitive)
        self._private.append(primitive)
        node.op_type = _REFERENCE + primitive.name
        del node.input[:]
        node.input.extend(inputs)

    def _move_constants(self, node: Any, kind: str, inputs: list[str], primitive: Any) -> list[str]:
        rule = self._dialect.rules.get(kind)
        if rule is None:
            known = ", ".join(sorted(self._dialect.rules))
            raise UnsupportedError(f"primitive {kind} (node {node.name}) has no rule for Lite 2.0; known: {known}")
        if len(inputs) != rule.inputs + len(rule.attributes):
            raise UnsupportedError(
                f"primitive {kind} (node {node.name}) has {len(inputs)} inputs; "
                f"{rule.inputs} and {len(rule.attributes)} constants were expected"
            )
        for name, value in zip(rule.attributes, inputs[rule.inputs :], strict=True):
            attribute = primitive.attribute.add()
            attribute.CopyFrom(self._constant(node, kind, name, value))
            attribute.name = name
            if name in rule.as_list:
                _make_list(attribute)
        return inputs[: rule.inputs]

    def _constant(self, node: Any, kind: str, name: str, value: str) -> Any:
        constant = self._constants.get(value)
        if constant is None:
            raise UnsupportedError(
                f"{name} of primitive {kind} (node {node.name}) is computed; Lite 2.0 needs a number"
            )
        attribute = constant.attribute[0]
        found = type(attribute).AttributeType.Name(attribute.type)
        if found not in _ATTRIBUTE_TYPES:
            raise UnsupportedError(
                f"{name} of primitive {kind} (node {node.name}) is a {found}; INT64, BOOL or TUPLE was expected"
            )
        return attribute

    def _replace_nodes(self, nodes: list[Any]) -> None:
        copies = []
        for node in nodes:
            copies.append(type(node)())
            copies[-1].CopyFrom(node)
        for value in self._graph.output:
            value.name = self._resolve(value.name)
        del self._graph.node[:]
        self._graph.node.extend(copies)
        del self._model.primitives[:]
        self._model.primitives.extend(self._private)

    def _rename_inputs(self, names: Sequence[str]) -> None:
        found = [value.name for value in self._graph.input]
        if len(found) != len(names):
            raise UnsupportedError(f"the graph has {len(found)} inputs; {len(names)} were named")
        renamed = dict(zip(found, names, strict=True))
        for value in self._graph.input:
            value.name = renamed[value.name]
        for node in self._graph.node:
            for index, name in enumerate(node.input):
                if name in renamed:
                    node.input[index] = renamed[name]


def _make_list(attribute: Any) -> None:
    """Turns the attribute's number into a tuple of one number; a tuple stays."""
    if type(attribute).AttributeType.Name(attribute.type) == "TUPLE":
        return
    number, kind = attribute.i, attribute.type
    attribute.ClearField("i")
    attribute.type = type(attribute).AttributeType.Value("TUPLE")
    attribute.values.add(type=kind, i=number)
