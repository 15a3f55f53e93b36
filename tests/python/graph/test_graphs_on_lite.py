"""Graphs of random models, built by MindSpore and run by Lite, compute what the checkpoint says at any shape."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from built_model import BuiltModel
from random_models import CASES, SEED

from golden import RandomGolden
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.export.graph import build_graphs
from skywork_rt.export.graph.cases import Case, Computed, compute, full_case, incremental_case
from skywork_rt.export.graph.contract import FULL, INCREMENTAL, Sizes, input_specs, output_specs
from skywork_rt.export.graph.reference import KvCache, ReferenceLlama
from skywork_rt.export.graph.tools import LiteTools
from skywork_rt.export.graph.verify import TOLERANCE, differences, run_graph

pytestmark = pytest.mark.slow

ROWS = (1, 4, 5, 8, 16)
# Rope scaling is in the inputs, not in the graph; biases and the parts of Qwen3 and SmolLM3 go through every shape in
# api/test_parity.py, on graphs that the export has verified.
MODELS = ["mha", "gqa", "qkv-bias", "untied", "wide-heads", "skywork-shape"]


def check(tools: LiteTools, graph: Path, cases: list[Case]) -> None:
    """Every output of every case is within the tolerance of its range; all in one load, so each case is a Resize."""
    for case, outputs in zip(cases, run_graph(tools, graph, cases, threads=2), strict=True):
        for difference in differences(case, outputs):
            assert difference.relative <= TOLERANCE, (difference, case.inputs["tokens"].shape)


@cache
def sequences(name: str, *lengths: int) -> list[Computed]:
    """What the reference computes, once for all cases of these lengths."""
    return compute(reference(name), lengths, np.random.default_rng(SEED))


@cache
def reference(name: str) -> ReferenceLlama:
    return ReferenceLlama(SyntheticSource(CASES[name].config, SEED))


@pytest.mark.parametrize("name", MODELS)
def test_full_graph_prefills_chunks_and_decodes(name: str, built: BuiltModel, tools: LiteTools) -> None:
    source, folder = built(name)
    rng = np.random.default_rng(SEED)
    cases = []
    for new in (*ROWS, 3, 17):
        for cached in (0, 1, 7, 40):
            (sequence,) = sequences(name, cached + new)
            wanted = sorted({0, new // 2, new - 1})
            cases.append(full_case(source.config, sequence, cached=cached, wanted=wanted, spare=1 + new % 3, rng=rng))
    check(tools, folder / "full.ms", cases)


@pytest.mark.parametrize("name", MODELS)
def test_incremental_graph_decodes_rows_of_different_lengths(name: str, built: BuiltModel, tools: LiteTools) -> None:
    source, folder = built(name)
    rng = np.random.default_rng(SEED)
    lengths = [1 + (7 * row) % 23 for row in range(max(ROWS))]
    computed = sequences(name, *lengths)
    cases = [
        incremental_case(source.config, computed[:rows], slots=max(lengths[:rows]) + spare, rng=rng)
        for rows in (*ROWS, 3, 1)
        for spare in (0, 9)
    ]
    check(tools, folder / "incremental.ms", cases)


@pytest.mark.parametrize("name", MODELS)
def test_full_graph_gives_the_logits_of_transformers(name: str, built: BuiltModel, tools: LiteTools) -> None:
    source, folder = built(name)
    golden = RandomGolden.load(name)
    count = len(golden.ids)
    empty = KvCache(
        [np.zeros((source.config.kv_heads, count, source.config.head_dim), np.float32)] * source.config.layers,
        [np.zeros((source.config.kv_heads, count, source.config.head_dim), np.float32)] * source.config.layers,
    )
    unknown = Computed(list(golden.ids), np.zeros((count, source.config.vocab_size), np.float32), empty)
    case = full_case(source.config, unknown, cached=0, wanted=range(count), spare=1, rng=np.random.default_rng(SEED))
    logits = run_graph(tools, folder / "full.ms", [case], threads=2)[0][0]
    golden.check(logits, range(count))


def test_rows_do_not_see_each_other_nor_the_slots_behind_their_masks(built: BuiltModel, tools: LiteTools) -> None:
    source, folder = built("gqa")
    computed = sequences("gqa", 9, 3)
    cases = [
        incremental_case(source.config, computed, slots=12, rng=np.random.default_rng(garbage)) for garbage in (1, 2)
    ]
    first, second = run_graph(tools, folder / "incremental.ms", cases, threads=2)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_graphs_have_the_contracts_inputs_and_outputs(built: BuiltModel, tools: LiteTools) -> None:
    source, folder = built("qkv-bias")
    rng = np.random.default_rng(SEED)
    computed = sequences("qkv-bias", 7, 7, 7)
    full = full_case(source.config, computed[0], cached=3, wanted=[0, 3], spare=2, rng=rng)
    incremental = incremental_case(source.config, computed, slots=8, rng=rng)
    for contract, case, sizes, file in (
        (FULL, full, Sizes(new=4, cached=5, wanted=2), "full.ms"),
        (INCREMENTAL, incremental, Sizes(rows=3, cached=8), "incremental.ms"),
    ):
        found = {name: (value.shape, value.dtype) for name, value in case.inputs.items()}
        specs = input_specs(contract, source.config, sizes)
        assert found == {spec.name: (spec.shape, np.dtype(spec.dtype)) for spec in specs}
        (outputs,) = run_graph(tools, folder / file, [case], threads=1)
        assert [value.shape for value in outputs] == [s.shape for s in output_specs(contract, source.config, sizes)]


def test_the_two_graphs_share_one_file_of_weights_and_nothing_else_is_left_behind(
    tools: LiteTools, tmp_path: Path
) -> None:
    source = SyntheticSource(CASES["gqa"].config, SEED)
    build_graphs(source, tmp_path)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sorted(sizes) == ["full.ms", "graphs.msw", "incremental.ms"]
    stored = 4 * sum(math.prod(shape) for shape in source.config.tensor_shapes().values() if len(shape) > 1)
    tied = 4 * source.config.vocab_size * source.config.hidden_size
    assert stored + tied <= sizes["graphs.msw"] <= 1.01 * (stored + tied)
    assert max(sizes["full.ms"], sizes["incremental.ms"]) < 100_000
