"""Exported device-cache graphs compute what the checkpoint says: on MindSpore's CPU backend where it has their
operations, and in numpy, operation by operation, in all three forms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from device_pairs import ON_CPU, PAIRS, STEPS, Built
from numpy.typing import NDArray

from golden import RandomGolden
from skywork_rt.errors import BackendError
from skywork_rt.export.graph.ascend.interpreter import DeviceGraph
from skywork_rt.export.graph.ascend.verify import TOLERANCES, relative_difference, verify_graphs

pytestmark = pytest.mark.slow


def check_row(built: Built, row: int, call: int, logits: NDArray[np.float32]) -> tuple[int, int]:
    """Asserts that one row of logits is within the tolerance, of the golden file too; returns whether its greedy id is
    another than the reference's, and whether that is at a near tie."""
    tolerance, expected = TOLERANCES[built.pair.form.precision], built.batch.expected(call)[row]
    assert relative_difference(logits, expected) <= tolerance, (row, call)
    golden, position = RandomGolden.load(built.pair.model), built.batch.position(row, call)
    if position < len(golden.ids):
        stored = golden.arrays
        difference = np.abs(logits[stored["columns"]] - stored["logits"][position]).max()
        assert difference <= tolerance * stored["range"][position], (row, call)
    second, first = np.sort(expected)[-2:]
    near = first - second <= 2 * tolerance * np.ptp(expected)
    other = logits.argmax() != expected.argmax()
    return int(other and not near), int(other and near)


def check_calls(built: Built, logits: Mapping[int, NDArray[np.float32]]) -> None:
    """All rows of all calls. Every greedy id is the reference's, but for near ties, which are counted."""
    rows = range(len(built.pair.prompts))
    assert sorted(logits) == list(range(STEPS + 1))
    found = [check_row(built, row, call, logits[call][row]) for call in logits for row in rows]
    wrong, ties = (sum(column) for column in zip(*found, strict=True))
    print(f"{built.pair.model}: {len(found)} greedy ids, {ties} others at near ties")
    assert wrong == 0
    assert ties <= len(found) // 20  # 5 %: more would be no ties


def on_cpu(built: Built) -> Mapping[int, NDArray[np.float32]]:
    assert built.ran is not None
    first = built.ran["0/logits"]
    return {0: first} | {call: built.ran[f"{call}/logits"][:, 0] for call in range(1, STEPS + 1)}


def in_numpy(built: Built) -> Mapping[int, NDArray[np.float32]]:
    caches: dict[str, Any] = {}
    full, incremental = (DeviceGraph(built.graphs[role], caches) for role in ("full", "incremental"))
    first, *steps = built.batch.calls
    logits = {0: full.run(first)[0]}
    for call, feeds in enumerate(steps, start=1):
        logits[call] = incremental.run(feeds)[0][:, 0]
    return logits


@pytest.mark.parametrize("name", ON_CPU)
def test_a_prompt_and_64_steps_on_mindspores_own_cpu_backend(name: str, built: Mapping[str, Built]) -> None:
    check_calls(built[name], on_cpu(built[name]))


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "assign-skywork"])
def test_a_prompt_and_64_steps_in_numpy(name: str, built: Mapping[str, Built]) -> None:
    check_calls(built[name], in_numpy(built[name]))


@pytest.mark.parametrize("name", ["assign", "assign-gears"])
def test_the_interpreter_computes_what_mindspore_does(name: str, built: Mapping[str, Built]) -> None:
    theirs, ours = on_cpu(built[name]), in_numpy(built[name])
    for call in theirs:
        for row in range(len(built[name].pair.prompts)):
            assert relative_difference(ours[call][row], theirs[call][row]) <= 1e-5


def test_outputs_are_logits_tokens_and_mindformers_mask(built: Mapping[str, Built]) -> None:
    made = built["assign"]
    assert made.ran is not None
    vocab, prompts = made.pair.source.config.vocab_size, made.batch.calls[0]["tokens"]
    assert (made.ran["0/logits"].shape, made.ran["0/logits"].dtype) == ((3, vocab), np.float32)
    assert (made.ran["1/logits"].shape, made.ran["1/logits"].dtype) == ((3, 1, vocab), np.float32)
    np.testing.assert_array_equal(made.ran["0/tokens"], prompts)
    np.testing.assert_array_equal(made.ran["0/mask"], np.where(prompts != 0, np.float32(2), np.float32(1)))
    assert made.ran["1/mask"].shape == (3, 1)


def test_what_is_cached_of_padding_is_zero(built: Mapping[str, Built]) -> None:
    """Else the sums of the form assign would add to it."""
    made, caches = built["assign"], {}
    DeviceGraph(made.graphs["full"], caches).run(made.batch.calls[0])
    assert len(caches) == 2 * made.pair.source.config.layers
    for cache in caches.values():
        for row, length in enumerate(made.pair.prompts):
            assert cache[row, :, :length].all()
            assert not cache[row, :, length:].any()


def test_rows_beyond_a_gear_stay_zero(built: Mapping[str, Built]) -> None:
    """Prompts and steps of two rows leave the third of the cache alone."""
    made, caches = built["assign-gears"], {}
    DeviceGraph(made.graphs["full"], caches).run(made.batch.calls[0])
    DeviceGraph(made.graphs["incremental"], caches).run(made.batch.calls[1])
    for cache in caches.values():
        assert cache[:2].any()
        assert not cache[2].any()


def test_a_second_batch_replaces_the_first(built: Mapping[str, Built]) -> None:
    made, caches = built["assign-gears"], {}
    full, incremental = (DeviceGraph(made.graphs[role], caches) for role in ("full", "incremental"))
    wanted = full.run(made.batch.calls[0])[0]
    for feeds in made.batch.calls[1:5]:
        incremental.run(feeds)
    np.testing.assert_array_equal(full.run(made.batch.calls[0])[0], wanted)
    assert relative_difference(incremental.run(made.batch.calls[1])[0][0, 0], made.batch.expected(1)[0]) <= 2e-4


@pytest.mark.parametrize("form", ["indexed", "paged"])
def test_a_prompt_joins_while_others_go_on(form: str, built: Mapping[str, Built]) -> None:
    """A call of the full graph changes no row but its own, and rows go on in any order of their prompts."""
    made, caches = built[f"{form}-gears"], {}
    full, incremental = (DeviceGraph(made.graphs[role], caches) for role in ("full", "incremental"))
    batch, pair = made.batch, made.pair
    whole = batch.calls[0]
    for row in (1, 0):  # one after the other, the second of the batch first
        alone = {name: value[row : row + 1] for name, value in whole.items() if name != "zactivate_len"}
        if form == "paged":
            alone["slot_mapping"] = whole["slot_mapping"].reshape(pair.gear)[row]
        else:
            alone["zactivate_len"] = whole["zactivate_len"]
        logits = full.run(alone)[0]
        assert relative_difference(logits[0], batch.expected(0)[row]) <= TOLERANCES["float32"]
    for call in (1, 2, 3):
        logits = incremental.run(batch.calls[call])[0][:, 0]
        for row in (0, 1):
            assert relative_difference(logits[row], batch.expected(call)[row]) <= TOLERANCES["float32"]


@pytest.mark.parametrize("name", ["assign", "indexed-half", "paged"])
def test_verification_finds_a_damaged_weight(name: str, built: Mapping[str, Built], tmp_path: Any) -> None:
    """Of one matrix, in a copy of the graphs' data."""
    made = built[name]
    verify_graphs(made.pair.source, made.pair.form, made.graphs)
    for path in made.graphs["full"].parent.iterdir():
        if path.is_dir():
            (tmp_path / path.name).mkdir()
            for file in path.iterdir():
                (tmp_path / path.name / file.name).write_bytes(file.read_bytes())
        elif path.suffix == ".mindir":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    graphs = {role: tmp_path / path.name for role, path in made.graphs.items()}
    place = next(p for p in DeviceGraph(graphs["full"]).model.graph.parameter if p.name.endswith("wo.weight"))
    with (tmp_path / place.external_data.location).open("r+b") as file:
        file.seek(place.external_data.offset)
        file.write(bytes(place.external_data.length))
    with pytest.raises(BackendError, match=r"full graph of form .* does not compute what the checkpoint says"):
        verify_graphs(made.pair.source, made.pair.form, graphs)


def nodes(graph: DeviceGraph) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Kind, inputs and primitive's attributes of every node that is no constant."""
    primitives = {primitive.name: primitive for primitive in graph.model.primitives}
    found = []
    for node in graph.model.graph.node:
        if node.op_type != "Constant":
            primitive = primitives[node.op_type.removeprefix("REF::")]
            found.append((primitive.op_type, list(node.input), {a.name: a for a in primitive.attribute}))
    return found


def constants(graph: DeviceGraph) -> dict[str, list[int]]:
    found = {}
    for node in graph.model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].tensors:
            tensor = node.attribute[0].tensors[0]
            if tensor.data_type == 7:
                found[node.output[0]] = np.frombuffer(tensor.raw_data, np.int64).tolist()
    return found


@pytest.mark.parametrize(("role", "kind"), [("full", "PromptKVCache"), ("incremental", "DecoderKVCache")])
def test_operations_of_the_form_indexed_have_mindformers_inputs(
    role: str, kind: str, built: Mapping[str, Built]
) -> None:
    graph = DeviceGraph(built["indexed"].graphs[role])
    known, found = constants(graph), [(i, a) for k, i, a in nodes(graph) if k == kind]
    assert [inputs[0].partition(".attention.")[2] for inputs, _ in found] == [
        "kvcache_mgr.key_past",
        "kvcache_mgr.value_past",
    ] * 2
    for inputs, attributes in found:
        assert [known[name] for name in inputs[4:7]] == [[2, 3], [96, 3], [96, 3]]
        assert attributes["side_effect_mem"].i == 1
        assert len(inputs) == 8  # the last orders side effects


def test_operations_of_the_form_paged_have_mindformers_inputs_and_attributes(built: Mapping[str, Built]) -> None:
    made = built["paged"]
    config = made.pair.source.config
    for role in ("full", "incremental"):
        graph = DeviceGraph(made.graphs[role])
        writes = [inputs for kind, inputs, _ in nodes(graph) if kind == "ReshapeAndCache"]
        assert [inputs[4] for inputs in writes] == ["slot_mapping"] * config.layers
        assert [[name.rpartition(".")[2] for name in inputs[2:4]] for inputs in writes] == [
            ["key_cache", "value_cache"]
        ] * config.layers
        reads = [(inputs, attributes) for kind, inputs, attributes in nodes(graph) if kind == "PagedAttention"]
        assert len(reads) == (config.layers if role == "incremental" else 0)
        for inputs, attributes in reads:
            assert inputs[3:] == ["block_tables", "batch_valid_length"]
            heads = attributes["head_num"].i, attributes["kv_head_num"].i
            assert heads == (config.heads, config.kv_heads)
            scale = attributes["scale_value"]
            assert scale.f or scale.d == pytest.approx(config.head_dim**-0.5)


@pytest.mark.parametrize("name", list(PAIRS))
def test_files_have_the_contracts_inputs_and_parameters(name: str, built: Mapping[str, Built]) -> None:
    made = built[name]
    form, config = made.pair.form, made.pair.source.config
    for role in ("full", "incremental"):
        graph = DeviceGraph(made.graphs[role]).model
        assert graph.mind_ir_version == 1
        given = {v.name: (v.tensor[0].data_type, list(v.tensor[0].dims)) for v in graph.graph.input}
        rows, new = (-1, -1) if form.dynamic(role) else (3, 96)
        expected = {"tokens": (6, [rows, new if role == "full" else 1]), "batch_valid_length": (6, [rows])}
        if form.form == "paged":
            if role == "incremental":
                expected["block_tables"] = 6, [rows, form.table]
            slots = -1 if form.dynamic(role) else 3 * 96
            expected["slot_mapping"] = 6, [slots if role == "full" else rows]
        else:
            expected |= {"batch_index": (7, [rows]), "zactivate_len": (7, [new])}
        assert json.dumps(given) == json.dumps(expected)  # in this order
        caches = {p.name: p for p in graph.graph.parameter if ".kvcache_mgr." in p.name}
        assert len(caches) == 2 * config.layers
        assert {tuple(p.dims) for p in caches.values()} == {form.cache_shape(config)}
        assert {p.data_type for p in caches.values()} == {10 if form.precision == "float16" else 1}
        norms = {p.data_type for p in graph.graph.parameter if "norm" in p.name}
        assert norms == {1}


def test_files_hold_neither_weights_nor_zeros(built: Mapping[str, Built]) -> None:
    """The cache of every layer is one hole, which takes no disk, and no Parameter's data is in the graph."""
    made = built["assign"]
    graph = DeviceGraph(made.graphs["full"]).model.graph
    assert not any(parameter.raw_data for parameter in graph.parameter)
    places = {
        (p.external_data.location, p.external_data.offset, p.external_data.length)
        for p in graph.parameter
        if ".kvcache_mgr." in p.name
    }
    ((location, offset, length),) = places
    file = made.graphs["full"].parent / location
    assert file.stat().st_size == offset + length
    assert file.stat().st_blocks * 512 <= 4096 < length
    assert made.graphs["full"].stat().st_size < 200_000


def test_no_operation_copies_the_cache(built: Mapping[str, Built]) -> None:
    """MindSpore guards values that are read before a write and used after it by TensorMove: on a device, a copy of the
    whole cache a layer and token."""
    for made in built.values():
        for path in made.graphs.values():
            assert not {kind for kind, _, _ in nodes(DeviceGraph(path))} & {"TensorMove", "Identity"}
