"""`skywork-rt export --for ascend`: the bundle, its files in MindFormers' places, and what is refused beforehand."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkpoints import SEED, small, write_hf

from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.export import AscendOptions, export
from skywork_rt.export.graph.ascend.interpreter import DeviceGraph

needs_mindspore = pytest.mark.skipif(importlib.util.find_spec("mindspore") is None, reason="graphs need MindSpore")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "skywork_rt", "export", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by the command, from a Hugging Face directory with a tokenizer, for native too."""
    folder = tmp_path_factory.mktemp("ascend")
    source = write_hf(folder / "model", tokenizer="byte-level")
    out = folder / "bundle"
    options = ["--for", "ascend,native", "--batch", "2", "--seq-length", "48", "--gears", "1x16", "--block-size", "8"]
    done = run(str(source), str(out), *options, "--cache-form", "paged")
    assert done.returncode == 0, done.stderr
    assert "graphs" in done.stdout
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
