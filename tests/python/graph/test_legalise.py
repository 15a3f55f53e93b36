"""The legaliser writes what Lite 2.0 reads, and refuses by name what it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skywork_rt.errors import UnsupportedError
from skywork_rt.export.graph.legalise import legalise, legalise_file
from skywork_rt.export.graph.mindir import load_model, model_class, save_model

pytestmark = pytest.mark.usefixtures("mindspore")


class Graph:
    """A small MindIR of version 3, in the form that MindSpore 2.7 writes."""

    def __init__(self) -> None:
        self.model = model_class()(mind_ir_version=3)
        self.graph = self.model.graph

    def input(self, name: str) -> str:
        self.graph.input.add(name=name)
        return name

    def output(self, name: str) -> None:
        self.graph.output.add(name=name)

    def parameter(self, name: str) -> str:
        self.graph.parameter.add(name=name, dims=[2, 2], data_type=1)
        return name

    def constant(self, name: str, kind: str = "INT64", **value: Any) -> str:
        node = self.graph.node.add(op_type="Constant", name=name, output=[name])
        attribute = node.attribute.add(name="value", **value)
        attribute.type = type(attribute).AttributeType.Value(kind)
        return name

    def node(self, kind: str, name: str, *inputs: str) -> str:
        primitive = f"{kind}:{len(self.model.primitives)}"
        self.model.primitives.add(name=primitive, op_type=kind)
        self.graph.node.add(op_type=f"REF::{primitive}", name=name, input=inputs, output=[name])
        return name

    def primitive_of(self, name: str) -> Any:
        node = next(node for node in self.graph.node if node.name == name)
        return next(p for p in self.model.primitives if f"REF::{p.name}" == node.op_type)

    def inputs_of(self, name: str) -> list[str]:
        return list(next(node for node in self.graph.node if node.name == name).input)


def attributes(primitive: Any) -> dict[str, Any]:
    return {a.name: [v.i for v in a.values] if len(a.values) else a.i for a in primitive.attribute}


def test_constants_after_the_inputs_become_attributes_of_the_primitive() -> None:
    g = Graph()
    x, no, yes = g.input("x"), g.constant("no", "BOOL", i=0), g.constant("yes", "BOOL", i=1)
    g.output(g.node("MatMul", "y", x, g.parameter("w"), no, yes))
    legalise(g.model)
    assert g.inputs_of("y") == ["x", "w"]
    assert attributes(g.primitive_of("y")) == {"transpose_a": 0, "transpose_b": 1}
    assert g.model.mind_ir_version == 1


def test_nodes_of_one_primitive_get_private_copies() -> None:
    g = Graph()
    x, no, yes = g.input("x"), g.constant("no", "BOOL", i=0), g.constant("yes", "BOOL", i=1)
    first = g.node("BatchMatMul", "first", x, x, no, no)
    shared = g.graph.node[-1].op_type
    second = g.node("BatchMatMul", "second", first, x, no, yes)
    g.graph.node[-1].op_type = shared
    g.output(second)
    legalise(g.model)
    assert attributes(g.primitive_of("first"))["transpose_b"] == 0
    assert attributes(g.primitive_of("second"))["transpose_b"] == 1


def test_softmax_axis_becomes_a_list_of_one() -> None:
    g = Graph()
    g.output(g.node("Softmax", "y", g.input("x"), g.constant("axis", i=-1)))
    legalise(g.model)
    assert attributes(g.primitive_of("y")) == {"axis": [-1]}


def test_load_depend_and_updatestate_go_and_their_readers_see_through_them() -> None:
    g = Graph()
    monad = g.constant("monad", "UMONAD")
    loaded = g.node("Load", "loaded", g.parameter("w"), monad)
    state = g.node("UpdateState", "state", monad, loaded)
    kept = g.node("Depend", "kept", g.node("Add", "sum", g.input("x"), loaded), state)
    g.output(g.node("Sqrt", "root", kept))
    legalise(g.model)
    assert [node.name for node in g.graph.node] == ["sum", "root"]
    assert g.inputs_of("sum") == ["x", "w"]
    assert g.inputs_of("root") == ["sum"]


def test_an_output_that_is_a_depend_becomes_what_it_passes_on() -> None:
    g = Graph()
    g.output(g.node("Depend", "last", g.node("Exp", "e", g.input("x")), g.constant("monad", "UMONAD")))
    legalise(g.model)
    assert [value.name for value in g.graph.output] == ["e"]


def test_constants_that_stay_inputs_are_kept_and_the_others_go() -> None:
    g = Graph()
    table, axis, batch = g.parameter("w"), g.constant("axis", i=0), g.constant("batch_dims", i=0)
    g.output(g.node("Gather", "rows", table, g.input("ids"), axis, batch))
    legalise(g.model)
    assert g.inputs_of("rows") == ["w", "ids", "axis"]
    assert [node.name for node in g.graph.node if node.op_type == "Constant"] == ["axis"]


def test_inputs_take_the_names_of_the_contract_everywhere() -> None:
    g = Graph()
    x = g.input("12_Net_construct:x")
    g.output(g.node("Mul", "y", x, x))
    legalise(g.model, ["tokens"])
    assert [value.name for value in g.graph.input] == ["tokens"]
    assert g.inputs_of("y") == ["tokens", "tokens"]


def test_an_unknown_primitive_is_refused_by_name() -> None:
    g = Graph()
    g.output(g.node("FlashAttentionScore", "y", g.input("x")))
    with pytest.raises(UnsupportedError, match=r"primitive FlashAttentionScore \(node y\) has no rule"):
        legalise(g.model)


def test_a_computed_attribute_is_refused() -> None:
    g = Graph()
    x = g.input("x")
    g.output(g.node("Concat", "y", x, g.node("Exp", "axis", x)))
    with pytest.raises(UnsupportedError, match=r"axis of primitive Concat .* is computed"):
        legalise(g.model)


def test_a_constant_of_another_type_is_refused() -> None:
    g = Graph()
    g.output(g.node("ReduceMax", "y", g.input("x"), g.constant("axis", i=-1), g.constant("keep", "STRING", s=b"yes")))
    with pytest.raises(UnsupportedError, match=r"keep_dims of primitive ReduceMax .* is a STRING"):
        legalise(g.model)


def test_another_number_of_inputs_is_refused_with_the_numbers() -> None:
    g = Graph()
    g.output(g.node("Split", "y", g.input("x"), g.constant("axis", i=1)))
    with pytest.raises(UnsupportedError, match=r"Split .* has 2 inputs; 1 and 2 constants were expected"):
        legalise(g.model)


def test_too_few_names_are_refused_with_the_numbers() -> None:
    g = Graph()
    g.output(g.node("Add", "y", g.input("a"), g.input("b")))
    with pytest.raises(UnsupportedError, match="has 2 inputs; 1 were named"):
        legalise(g.model, ["tokens"])


def test_sub_graphs_are_refused() -> None:
    g = Graph()
    g.model.functions.add(name="while_body")
    with pytest.raises(UnsupportedError, match="while_body"):
        legalise(g.model)


@pytest.mark.parametrize("form", ["weights inside", "weights beside"])
def test_a_file_is_rewritten_and_its_weights_stay_as_they_are(tmp_path: Path, form: str) -> None:
    g = Graph()
    w, no = g.parameter("w"), g.constant("no", "BOOL", i=0)
    if form == "weights inside":
        g.graph.parameter[0].raw_data = bytes(range(16))
    else:
        g.graph.parameter[0].external_data.location = "x_variables/data_0"
        g.graph.parameter[0].external_data.offset = 64
        g.graph.parameter[0].external_data.length = 16
    g.output(g.node("MatMul", "y", g.input("x"), w, no, no))
    before = g.graph.parameter[0].SerializeToString()
    save_model(g.model, tmp_path / "x_graph.mindir")
    legalise_file(tmp_path / "x_graph.mindir", tmp_path / "legal.mindir")
    after = load_model(tmp_path / "legal.mindir")
    assert after.graph.parameter[0].SerializeToString() == before
    assert after.mind_ir_version == 1
