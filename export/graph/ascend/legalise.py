"""Device-cache graphs in the MindIR that the Lite of the recipe reads: version 1, side effects in order.

As graph/legalise.py for the host-cache graphs, but Load, UpdateState and Depend stay, because Assign and the operations
on the cache depend on them. TensorMove goes: it guards a value that is read before and used after a write, and the
cells read the cache either before its one write or after it. On the device it would copy the whole cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skywork_rt.export.graph.ascend.ops import OPERATIONS, STAND_IN
from skywork_rt.export.graph.legalise import RULES, Dialect, Rule, legalise

__all__ = ["legalise_device"]

_ORDER = 1
"""Inputs that say after what a node comes: operations with side effects have one more."""

_DIALECT = Dialect(
    rules={
        **RULES,
        "Assign": Rule(2 + _ORDER),
        "Cast": Rule(2),
        "Equal": Rule(2),
        "Greater": Rule(2),
        "Less": Rule(2),
        "Load": Rule(1 + _ORDER),
        "Minimum": Rule(2),
        "NotEqual": Rule(2),
        "OnesLike": Rule(1),
        "Shape": Rule(1),
        "Depend": Rule(2),
        **{
            STAND_IN + name: Rule(len(operation.inputs) + (_ORDER if operation.writes else 0))
            for name, operation in OPERATIONS.items()
        },
    },
    bypassed=frozenset({"TensorMove"}),
    variadic=frozenset({"MakeTuple", "UpdateState"}),
)


def legalise_device(model: Any, input_names: Sequence[str]) -> None:
    """Rewrites a ModelProto in place, and gives inputs and operations their true names.

    Raises UnsupportedError as `legalise` does.
    """
    legalise(model, input_names, _DIALECT)
    for primitive in model.primitives:
        if primitive.op_type.startswith(STAND_IN):
            primitive.op_type = primitive.op_type.removeprefix(STAND_IN)
            primitive.instance_name = primitive.op_type
    renamed = {value.name: value.name.rpartition(":")[2] for value in model.graph.parameter}
    for parameter in model.graph.parameter:
        parameter.name = renamed[parameter.name]
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name in renamed:
                node.input[index] = renamed[name]
