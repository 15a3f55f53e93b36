"""`skywork-rt export --for ascend`: the bundle, its files in MindFormers' places, and what is refused beforehand."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkpoints import SEED, small, write_hf

import skywork_rt
from missing_card import refusal_without_card
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import CorruptBundleError, InvalidArgumentError, UnsupportedError
from skywork_rt.export import AscendOptions, export
from skywork_rt.export.adopt import adopt
from skywork_rt.export.device_cache import FORMS
from skywork_rt.export.graph.ascend.interpreter import DeviceGraph

needs_mindspore = pytest.mark.skipif(importlib.util.find_spec("mindspore") is None, reason="graphs need MindSpore")


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "skywork_rt", *arguments], capture_output=True, text=True, check=False)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("export", *arguments)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory with a tokenizer."""
    return write_hf(tmp_path_factory.mktemp("model"), tokenizer="byte-level")


@pytest.fixture(scope="module")
def bundle(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by the command, for native too."""
    out = tmp_path_factory.mktemp("ascend") / "bundle"
    options = ["--for", "ascend,native", "--batch", "2", "--seq-length", "48", "--gears", "1x16", "--block-size", "8"]
    done = run(str(model), str(out), *options, "--cache-form", "paged")
    assert done.returncode == 0, done.stderr
    assert "graphs" in done.stdout
    return out


@pytest.fixture(scope="module", params=FORMS)
def of_each_form(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each form, with gears; the paged one is `bundle`."""
    if request.param == "paged":
        bundle: Path = request.getfixturevalue("bundle")
        return bundle
    out = tmp_path_factory.mktemp(request.param) / "bundle"
    options = AscendOptions(batch=2, seq_length=48, gears=[(1, 16)], form=request.param)
    export(model, out, targets=["ascend"], ascend=options, verify=False)
    return out


def manifest(bundle: Path) -> Any:
    return json.loads((bundle / "model.json").read_text())


@pytest.mark.slow
@needs_mindspore
def test_graphs_stand_in_mindformers_places_and_model_json_tells_them(bundle: Path) -> None:
    body = manifest(bundle)
    assert body["version"] == 3  # readers of version 2 refuse files in folders
    assert body["model"]["max_length"] == 48
    cache = {"blocks": 13, "block_tokens": 8, "table": 6}
    common = {"flavour": "ge", "precision": "float16", "form": "paged", "cache": cache}
    full, incremental = "mindir_full_checkpoint/rank_0_graph.mindir", "mindir_inc_checkpoint/rank_0_graph.mindir"
    assert body["graphs"] == [
        {"file": full, "contract": "device-cache/full", **common, "gears": [[1, 16], [2, 48]]},
        {"file": incremental, "contract": "device-cache/incremental", **common, "gears": [[1, 1], [2, 1]]},
    ]
    assert set(body["weights"]) == {"int8"}
    roles = {name: file["role"] for name, file in body["files"].items() if "/" in name}
    assert roles == {
        f"{folder}/{name}": role
        for folder in ("mindir_full_checkpoint", "mindir_inc_checkpoint")
        for name, role in (
            ("rank_0_graph.mindir", "graph"),
            ("context.cfg", "ge_config"),
            ("rank_0_variables/data_0", "graph_data"),
            ("rank_0_variables/data_1", "graph_data"),
        )
    }


@pytest.mark.slow
@needs_mindspore
def test_every_file_is_listed_with_its_hash_and_weights_are_there_once(bundle: Path) -> None:
    body = manifest(bundle)
    found = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert found == {*body["files"], "model.json"}
    for name, file in body["files"].items():
        content = (bundle / name).read_bytes()
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    for data in ("data_0", "data_1"):
        one, other = (bundle / f"mindir_{role}_checkpoint/rank_0_variables/{data}" for role in ("full", "inc"))
        assert one.samefile(other)
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
@needs_mindspore
def test_graphs_of_a_bundle_load_where_it_lies(bundle: Path) -> None:
    """Places in a graph are relative to it."""
    graph = DeviceGraph(bundle / "mindir_full_checkpoint" / "rank_0_graph.mindir")
    assert graph.parameters["lm_head.weight"].any()
    assert not graph.parameters["model.layers.0.attention.kvcache_mgr.key_cache"].any()


@pytest.mark.slow
@needs_mindspore
def test_a_bundle_of_each_form_opens_up_to_the_missing_card_and_so_does_its_adopted_twin(
    of_each_form: Path, model: Path, tmp_path: Path
) -> None:
    refusal_without_card(of_each_form)
    graphs = manifest(of_each_form)["graphs"]
    gears, steps = (tuple((rows, tokens) for rows, tokens in graph["gears"]) for graph in graphs)
    directories = [of_each_form / Path(graph["file"]).parent for graph in graphs]
    twin = adopt(
        *directories, tmp_path / "twin", tokenizer=model, config=model / "config.json", gears=gears, step_gears=steps
    )
    assert [{**graph, "file": ""} for graph in manifest(twin)["graphs"]] == [{**graph, "file": ""} for graph in graphs]
    assert manifest(twin)["model"]["max_length"] == manifest(of_each_form)["model"]["max_length"] == 48
    refusal_without_card(twin)


@pytest.mark.slow
@needs_mindspore
def test_gears_that_the_core_cannot_serve_are_refused_when_the_bundle_is_opened(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    body = manifest(damaged)
    body["model"]["max_length"] = 64
    (damaged / "model.json").write_text(json.dumps(body))
    with pytest.raises(CorruptBundleError, match=r"holds sequences of 48 tokens, fewer than model\.max_length = 64"):
        skywork_rt.Generator(damaged, device="ascend")


@pytest.mark.slow
@needs_mindspore
def test_info_lists_the_graphs_and_their_files(bundle: Path) -> None:
    shown = run_command("info", str(bundle), "--verify")
    assert shown.returncode == 0, shown.stderr
    words = " ".join(shown.stdout.split())
    assert "device-cache/full (ge, float16, paged)" in words
    assert "device-cache/incremental (ge, float16, paged)" in words


def source(**changes: Any) -> SyntheticSource:
    return SyntheticSource(small(**{"tied_embeddings": False, **changes}), SEED)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"ascend": AscendOptions(batch=2)}, "ascend is not among the targets"),
        ({"targets": ["native"], "ascend": AscendOptions()}, "ascend is not among the targets"),
        ({"targets": ["ascend"], "graphs": "full"}, "graphs is 'full', but the target ascend takes both"),
        ({"targets": ["ascend"], "ascend": AscendOptions(batch=0)}, "batch is 0"),
        ({"targets": ["ascend"], "weights": ["int8"]}, "weights int8 are for the target native"),
    ],
)
@needs_mindspore
def test_wrong_arguments_are_refused_before_any_work(arguments: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        export(source(), tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


@needs_mindspore
def test_one_length_holds_for_the_whole_bundle(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model")
    arguments: dict[str, Any] = {"targets": ["ascend"], "ascend": AscendOptions(seq_length=32)}
    with pytest.raises(InvalidArgumentError, match="max_length is 40 and seq_length 32: give one"):
        export(directory, tmp_path / "out", max_length=40, **arguments)
    with pytest.raises(InvalidArgumentError, match="open it with max_length=32"):
        export(source(), tmp_path / "out", **{**arguments, "ascend": AscendOptions(seq_length=32)})


@needs_mindspore
def test_a_model_with_other_parts_is_refused_by_their_names(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"qk_norm.*device-cache contract"):
        export(source(qk_norm=True), tmp_path / "out", targets=["ascend"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--for", "native", "--batch", "2"], "ascend is not among the targets"),
        (["--for", "ascend", "--gears", "256"], "write each as rows x tokens"),
        (["--for", "ascend", "--cache-form", "ring"], "cache_form is 'ring'"),
    ],
)
@pytest.mark.slow
@needs_mindspore
def test_the_command_says_what_is_wrong(options: list[str], complaint: str, tmp_path: Path) -> None:
    done = run(str(write_hf(tmp_path / "model")), str(tmp_path / "out"), *options)
    assert done.returncode != 0
    assert complaint in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
