"""Graphs as MindIR: --graph-format mindir, and MindFormers' directories."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from recipe_model import write_recipe_model

import skywork_rt
from bundles import BACKENDS
from skywork_rt.checkpoints.open import open_source
from skywork_rt.checkpoints.synthetic.presets import preset
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.cli.app import run
from skywork_rt.errors import CorruptBundleError, InvalidArgumentError, UnsupportedError
from skywork_rt.export import export

PROMPTS = [[1, 297, 262, 264], [1, 343, 100, 343, 101], [1, 5]]

with_lite = pytest.mark.skipif("lite" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out lite")


def ids_of(bundle: Path) -> list[list[int]]:
    with skywork_rt.Generator(bundle, backend="lite") as generator:
        results = generator.generate(PROMPTS, max_tokens=12, temperature=0, ignore_eos=True)
    return [result.token_ids for result in results]


@with_lite
@pytest.mark.slow
def test_both_formats_give_the_same_ids(layout: Path, lite_bundle: Path) -> None:
    assert {path.suffix for path in lite_bundle.iterdir()} >= {".ms", ".msw"}  # the default
    expected = ids_of(lite_bundle)
    assert ids_of(layout / "mindir_full_checkpoint") == expected
    assert len({token for row in expected for token in row}) > 8


@with_lite
@pytest.mark.slow
def test_the_layout_has_mindformers_names_and_real_mindir(layout: Path) -> None:
    from skywork_rt.export.graph.mindir import load_model

    found = sorted(str(path.relative_to(layout)) for path in layout.rglob("*") if path.is_file())
    assert found == [
        "mindir_full_checkpoint/model.json",
        "mindir_full_checkpoint/rank_0_graph.mindir",
        "mindir_full_checkpoint/tokenizer.model",
        "mindir_full_checkpoint/vocab.bin",
        "mindir_inc_checkpoint/model.json",
        "mindir_inc_checkpoint/rank_0_graph.mindir",
    ]
    for folder, contract in (("mindir_full_checkpoint", "full"), ("mindir_inc_checkpoint", "incremental")):
        model = load_model(layout / folder / "rank_0_graph.mindir")  # MindSpore's own protobuf message
        assert len(model.graph.node) > 20
        assert sum(len(parameter.raw_data) for parameter in model.graph.parameter) > 500_000  # the weights are in it
        (graph,) = json.loads((layout / folder / "model.json").read_text())["graphs"]
        assert graph["contract"] == f"host-cache/{contract}" and "weights" not in graph


@with_lite
@pytest.mark.slow
def test_lite_loads_the_files_as_mindir_and_computes_what_the_checkpoint_says(layout: Path, tmp_path: Path) -> None:
    from skywork_rt.export.graph.contract import FULL, INCREMENTAL
    from skywork_rt.export.graph.tools import find_tools
    from skywork_rt.export.graph.verify import compute_sequences, verify_graph

    source = open_source(write_recipe_model(tmp_path).checkpoint)
    sequences = compute_sequences(source)
    for folder, contract in (("mindir_full_checkpoint", FULL), ("mindir_inc_checkpoint", INCREMENTAL)):
        copied = Path(shutil.copy(layout / folder / "rank_0_graph.mindir", tmp_path / f"{folder}.mindir"))
        verify_graph(find_tools(), copied, contract, source.config, sequences)  # the ending makes it kMindIR


@with_lite
@pytest.mark.slow
def test_a_damaged_graph_is_refused_before_lite_reads_it(layout: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(layout / "mindir_full_checkpoint", tmp_path / "damaged"))
    graph = damaged / "rank_0_graph.mindir"
    body = bytearray(graph.read_bytes())
    body[len(body) // 2] ^= 1
    graph.write_bytes(body)
    with pytest.raises(CorruptBundleError, match="SHA-256"):
        ids_of(damaged)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"graph_format": "onnx"}, "graph_format is 'onnx', but must be ms or mindir"),
        ({"layout": "mindformer"}, "layout is 'mindformer', but must be bundle or mindformers"),
        ({"layout": "mindformers", "graph_format": "ms"}, "must be mindir in the layout of MindFormers"),
        ({"layout": "mindformers", "weights": ["f32"]}, "leave out --for and --weights"),
        ({"layout": "mindformers", "targets": ["native"]}, "leave out --for and --weights"),
        ({"graph_format": "mindir", "targets": ["native"]}, "no graphs are made"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        export(write_recipe_model(tmp_path / "model").checkpoint, tmp_path / "out", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_model_beyond_two_gib_is_refused_with_the_numbers() -> None:
    from skywork_rt.export.graph import check_graph_format

    large = SyntheticSource(preset("skywork-13b")).config
    with pytest.raises(UnsupportedError, match=r"less than 2 GiB, and this model has 51\.\d\d GiB .*--graph-format ms"):
        check_graph_format("mindir", large)
    check_graph_format("ms", large)


def test_what_is_no_bundle_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_recipe_model(tmp_path / "model")
    taken = tmp_path / "output" / "mindir_full_checkpoint"
    taken.mkdir(parents=True)
    (taken / "mine.txt").write_text("mine")
    words = ["export", str(model.checkpoint), str(tmp_path / "output"), "--layout", "mindformers"]
    assert run(words) == 2
    assert "exists; give another name" in capsys.readouterr().err
    assert run([*words, "--overwrite"]) == 2
    assert "is not empty and no bundle; it is not replaced" in capsys.readouterr().err
    assert [path.name for path in taken.iterdir()] == ["mine.txt"]


@with_lite
@pytest.mark.slow
def test_a_failed_export_leaves_neither_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skywork_rt.export.graph import build

    def fail(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "_write_weights", fail)
    monkeypatch.setattr(build, "_write_structure", lambda *_arguments: None)
    model = write_recipe_model(tmp_path / "model")
    with pytest.raises(KeyboardInterrupt):
        export(model.checkpoint, tmp_path / "out", layout="mindformers")
    assert list((tmp_path / "out").iterdir()) == []
