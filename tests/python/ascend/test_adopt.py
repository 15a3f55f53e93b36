"""`skywork-rt adopt`: bundles around graphs that MindFormers has exported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mindir_bytes import caches, rows_inputs, write_mindir

import skywork_rt
from missing_card import refusal_without_card
from skywork_rt import errors
from skywork_rt.export.adopt import adopt
from skywork_rt.export.adopt.mindir_header import read_mindir_header

EMBEDDING: dict[str, Any] = {"model.tok_embeddings.embedding_weight": ("float16", (512, 32))}
CACHE = (2, 2, 64, 16)

Yaml = Callable[..., Path]


def assign_pair(folder: Path, *, length: int = 64, batch: int = 2, external: str | None = None) -> tuple[Path, Path]:
    """The two graphs of the form assign; a length and batch of -1 are without sizes."""
    parameters = caches(2, CACHE) | EMBEDDING
    full = write_mindir(
        folder / "full" / "rank_0_graph.mindir", rows_inputs(batch, length, length), parameters,
        ["REF::Assign:3", "Assign"], external,
    )  # fmt: skip
    incremental = write_mindir(
        folder / "inc" / "rank_0_graph.mindir", rows_inputs(batch, 1, length), parameters,
        ["REF::Assign:3", "Assign"], external,
    )  # fmt: skip
    if external is not None:
        for graph in (full, incremental):
            (graph.parent / external).parent.mkdir(exist_ok=True)
            (graph.parent / external).write_bytes(b"weights of " + graph.parent.name.encode())
    return full, incremental


def manifest(bundle: Path) -> dict[str, Any]:
    body = json.loads((bundle / "model.json").read_text())
    assert isinstance(body, dict)
    return body


# ---------------------------------------------------------------------------------------- what MindSpore has exported


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "cache", "gears"),
    [
        ("assign", {"rows": 2, "positions": 64}, [[2, 64]]),
        ("indexed", {"rows": 2, "positions": 64}, [[2, 64]]),
        ("paged", {"blocks": 9, "block_tokens": 16, "table": 4}, [[2, 1]]),
    ],
)
def test_mindspores_own_exports_are_recognised_and_opened(
    exports: Path, tokenizer: Path, write_yaml: Yaml, tmp_path: Path, form: str, cache: dict[str, int], gears: Any
) -> None:
    source = exports / form
    out = adopt(
        source / "mindir_full_checkpoint", source / "mindir_inc_checkpoint", tmp_path / "out",
        tokenizer=tokenizer, config=write_yaml(),
    )  # fmt: skip
    body = manifest(out)
    assert body["version"] == 3
    full, incremental = body["graphs"]
    assert (full["contract"], full["flavour"], full["precision"]) == ("device-cache/full", "ge", "float16")
    assert full["form"] == incremental["form"] == form
    assert full["cache"] == incremental["cache"] == cache
    assert (full["gears"], incremental["gears"]) == ([[2, 64]], gears)
    assert (out / full["file"]).is_symlink()
    refusal_without_card(out)


# ----------------------------------------------------------------------------------------------- without any MindSpore


def test_a_bundle_is_links_and_opens_on_no_backend_but_ascend(
    tokenizer: Path, write_yaml: Yaml, tmp_path: Path
) -> None:
    out = adopt(*assign_pair(tmp_path), tmp_path / "out", tokenizer=tokenizer, config=write_yaml())
    assert manifest(out)["model"]["max_length"] == 64
    for backend, error, words in (
        ("ascend", errors.BackendUnavailableError, "ASCEND_HOME_PATH is not set"),
        ("auto", errors.BackendUnavailableError, "LD_LIBRARY_PATH"),
        ("native", errors.UnsupportedError, "no weights for the backend"),
        ("lite", errors.UnsupportedError, 'no graphs for the backend "lite"'),
    ):
        with pytest.raises(error, match=words):
            skywork_rt.Generator(out, backend=backend)


def test_a_bundle_without_graphs_for_ascend_says_how_to_get_them(tiny_bundle: Path) -> None:
    with pytest.raises(errors.UnsupportedError) as refused:
        skywork_rt.Generator(tiny_bundle, device="ascend")
    assert "skywork-rt export CHECKPOINT OUT --for ascend" in str(refused.value)
    assert "skywork-rt adopt FULL INCREMENTAL OUT --tokenizer T --config YAML" in str(refused.value)


@pytest.mark.parametrize("copy", [False, True])
def test_weights_beside_a_graph_keep_their_places(
    tokenizer: Path, write_yaml: Yaml, tmp_path: Path, copy: bool
) -> None:
    pair = assign_pair(tmp_path, external="rank_0_variables/data_0")
    out = adopt(*pair, tmp_path / "out", tokenizer=tokenizer, config=write_yaml(), copy=copy)
    files = manifest(out)["files"]
    assert files["full/rank_0_variables/data_0"]["role"] == "graph_data"
    for folder, source in (("full", "full"), ("incremental", "inc")):
        data = out / folder / "rank_0_variables/data_0"
        assert data.read_bytes() == b"weights of " + source.encode()
        assert data.is_symlink() is not copy
    with pytest.raises(errors.BackendUnavailableError):
        skywork_rt.Generator(out)


def test_a_paged_pair_takes_its_blocks_from_the_cache_and_its_table_from_the_inputs(
    tokenizer: Path, write_yaml: Yaml, tmp_path: Path
) -> None:
    parameters = caches(2, (9, 16, 2, 16), "cache") | EMBEDDING
    inputs: dict[str, Any] = {
        "input_ids": ("int32", (2, 64)),
        "batch_valid_length": ("int32", (2,)),
        "slot_mapping": ("int32", (128,)),
    }
    step = inputs | {"input_ids": ("int32", (2, 1)), "block_tables": ("int32", (2, 4)), "slot_mapping": ("int32", (2,))}
    full = write_mindir(tmp_path / "full.mindir", inputs, parameters, ["ReshapeAndCache"])
    incremental = write_mindir(tmp_path / "inc.mindir", step, parameters, ["ReshapeAndCache", "PagedAttention"])
    out = adopt(full, incremental, tmp_path / "out", tokenizer=tokenizer, config=write_yaml())
    assert manifest(out)["graphs"][1]["cache"] == {"blocks": 9, "block_tokens": 16, "table": 4}


def test_paged_steps_have_a_shape_a_batch(tokenizer: Path, write_yaml: Yaml, tmp_path: Path) -> None:
    parameters = caches(2, (9, 16, 2, 16), "cache") | EMBEDDING
    lengths = {"batch_valid_length": ("int32", (-1,)), "slot_mapping": ("int32", (-1,))}
    full = write_mindir(
        tmp_path / "full.mindir", {"tokens": ("int32", (-1, -1)), **lengths}, parameters, ["ReshapeAndCache"]
    )
    step = {"tokens": ("int32", (-1, 1)), "block_tables": ("int32", (-1, 4)), **lengths}
    incremental = write_mindir(tmp_path / "inc.mindir", step, parameters, ["ReshapeAndCache"])
    out = adopt(
        full, incremental, tmp_path / "out", tokenizer=tokenizer, config=write_yaml(), gears=[(1, 16), (1, 64), (4, 64)]
    )
    assert [graph["gears"] for graph in manifest(out)["graphs"]] == [[[1, 16], [1, 64], [4, 64]], [[1, 1], [4, 1]]]


def test_graphs_without_sizes_need_gears_and_take_them(tokenizer: Path, write_yaml: Yaml, tmp_path: Path) -> None:
    pair = assign_pair(tmp_path, length=-1, batch=-1)
    arguments: dict[str, Any] = {"tokenizer": tokenizer, "config": write_yaml()}
    with pytest.raises(errors.InvalidArgumentError, match=r"say with --gears which shapes"):
        adopt(*pair, tmp_path / "out", **arguments)
    out = adopt(*pair, tmp_path / "out", gears=[(1, 16), (2, 64)], **arguments)
    full, incremental = manifest(out)["graphs"]
    assert full["gears"] == [[1, 16], [2, 64]]
    assert incremental["gears"] == [[1, 16], [1, 64], [2, 16], [2, 64]]
    with pytest.raises(errors.InvalidArgumentError, match=r"would have 1 shapes .*GE takes 2 to 100"):
        adopt(*pair, tmp_path / "other", gears=[(2, 64)], **arguments)
    given = assign_pair(tmp_path / "sized")
    with pytest.raises(errors.InvalidArgumentError, match="exported for 2x64 alone"):
        adopt(*given, tmp_path / "other", gears=[(1, 16)], **arguments)


@pytest.mark.parametrize(
    ("gears", "steps", "words"),
    [
        ([(1, 16), (4, 64)], [], "--gears has 4x64, but the cache in the graphs has 2 rows of 64 positions"),
        ([(1, 16), (2, 128)], [], "--gears has 2x128, but the cache in the graphs has 2 rows of 64 positions"),
        ([(1, 16), (2, 64)], [(1, 64), (2, 65)], "--step-gears has 2x65, but"),
        ([(1, 16), (2, 32)], [(1, 64), (2, 64)], "--gears has no shape for the one call that begins a batch: add 2x64"),
        ([(1, 16), (2, 64)], [(1, 64), (2, 32)], "--step-gears has no shape for sequences of full length: add 2x64"),
        ([(1, 16), (2, 64)], [(1, 16), (2, 64)], "--step-gears has no 1x64, but a batch that began with 1 rows"),
    ],
)
def test_shapes_that_the_runtime_would_refuse_are_refused_before_a_bundle_is_made(
    tokenizer: Path, write_yaml: Yaml, tmp_path: Path, gears: Any, steps: Any, words: str
) -> None:
    pair = assign_pair(tmp_path, length=-1, batch=-1)
    with pytest.raises(errors.InvalidArgumentError, match=words):
        adopt(*pair, tmp_path / "out", tokenizer=tokenizer, config=write_yaml(), gears=gears, step_gears=steps)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_layers": 3}, "the graphs have 2 layers, the configuration 3"),
        ({"vocab_size": 600}, "512 tokens in the vocabulary, the configuration 600"),
        ({"n_kv_heads": 1}, "2 key/value heads, the configuration 1"),
        ({"num_heads": 4, "n_kv_heads": 2}, "16 elements a head, the configuration 8"),
        ({"seq_length": 32}, "64 positions, the configuration 32"),
    ],
)
def test_mismatches_with_the_configuration_are_named(
    tokenizer: Path, write_yaml: Yaml, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.CheckpointError, match=words):
        adopt(*assign_pair(tmp_path), tmp_path / "out", tokenizer=tokenizer, config=write_yaml(**changes))
    assert not (tmp_path / "out").exists()


def test_graphs_that_are_no_pair_are_refused(tokenizer: Path, write_yaml: Yaml, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"tokenizer": tokenizer, "config": write_yaml()}
    full, incremental = assign_pair(tmp_path)
    plain = write_mindir(tmp_path / "plain.mindir", {"tokens": ("int32", (2, 64))}, EMBEDDING, ["MatMul"])
    odd = write_mindir(
        tmp_path / "odd.mindir", rows_inputs(2, 1, 64), caches(1, (4, 2, 64, 16)) | EMBEDDING, ["Assign"]
    )
    still = write_mindir(tmp_path / "still.mindir", rows_inputs(2, 1, 64), caches(2, CACHE), ["MatMul"])
    whole = write_mindir(
        tmp_path / "whole.mindir",
        rows_inputs(2, 64, 64),
        caches(2, CACHE),
        ["Assign"],
        logits=("float32", (2, 64, 512)),
    )
    ids = write_mindir(
        tmp_path / "ids.mindir", rows_inputs(2, 64, 64), caches(2, CACHE), ["Assign"], logits=("int32", (2, 1))
    )
    glm = write_mindir(tmp_path / "glm.mindir", {"position_ids": ("int32", (2, 64))}, {}, [])
    for first, second, words in (
        (plain, incremental, "use_past"),
        (full, odd, r"2 caches of \[2, 2, 64, 16\], odd.mindir 1 of"),
        (incremental, full, "takes one token a row, so it reads no prompts: give FULL"),
        (full, full, "takes 64 tokens a row, so it computes no single tokens"),
        (full, still, "neither DecoderKVCache nor Assign"),
        (glm, incremental, "an input 'position_ids'"),
        (whole, incremental, "logits of 64 positions of each row"),
        (ids, incremental, r"output 0 of ids.mindir is int32 \[2, 1\], not float32 logits of 512"),
        (tmp_path / "none", incremental, "does not exist"),
        (tmp_path, incremental, "graphs .*; give one of them"),
    ):
        with pytest.raises(errors.CheckpointError, match=words):
            adopt(first, second, tmp_path / "out", **arguments)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/b/c", "rank_0_variables/../../secret"])
def test_weights_outside_of_the_graphs_folder_are_refused(
    tokenizer: Path, write_yaml: Yaml, tmp_path: Path, name: str
) -> None:
    full = write_mindir(
        tmp_path / "full.mindir", rows_inputs(2, 64, 64), caches(2, CACHE) | EMBEDDING, ["Assign"], name
    )
    incremental = assign_pair(tmp_path)[1]
    with pytest.raises(errors.CheckpointError, match="which is not beside it"):
        adopt(full, incremental, tmp_path / "out", tokenizer=tokenizer, config=write_yaml())


def test_missing_weights_are_named(tokenizer: Path, write_yaml: Yaml, tmp_path: Path) -> None:
    full, incremental = assign_pair(tmp_path, external="rank_0_variables/data_0")
    (full.parent / "rank_0_variables/data_0").unlink()
    with pytest.raises(errors.CheckpointError, match=r"weights in rank_0_variables/data_0, which is not there"):
        adopt(full, incremental, tmp_path / "out", tokenizer=tokenizer, config=write_yaml())


def test_a_graph_that_is_cut_off_anywhere_is_refused_or_read_without_inventing(tmp_path: Path) -> None:
    full, _ = assign_pair(tmp_path)
    whole, content = read_mindir_header(full), full.read_bytes()
    cut = tmp_path / "cut.mindir"
    for length in range(0, len(content), 3):
        cut.write_bytes(content[:length])
        try:
            header = read_mindir_header(cut)
        except errors.CheckpointError:
            continue
        assert header.inputs == whole.inputs
    cut.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(errors.CheckpointError, match="no MindIR"):
        read_mindir_header(cut)


def test_an_adopted_bundle_is_not_replaced_unasked_and_replaced_whole_when_asked(
    tokenizer: Path, write_yaml: Yaml, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"tokenizer": tokenizer, "config": write_yaml()}
    pair = assign_pair(tmp_path)
    out = adopt(*pair, tmp_path / "out", **arguments)
    with pytest.raises(errors.InvalidArgumentError, match="exists"):
        adopt(*pair, out, **arguments)
    adopt(*pair, out, overwrite=True, copy=True, **arguments)
    assert not (out / "full/rank_0_graph.mindir").is_symlink()
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_options_of_other_backends_are_refused_by_name(tokenizer: Path, write_yaml: Yaml, tmp_path: Path) -> None:
    out = adopt(*assign_pair(tmp_path), tmp_path / "out", tokenizer=tokenizer, config=write_yaml())
    config = tmp_path / "context.cfg"
    config.write_text("[ge_session_options]\nge.externalWeights=1\n")
    for options, words in (
        ({"device": "cpu"}, 'runs on device "ascend"'),
        ({"weights": "int4"}, "weights"),
        ({"ge_precision": "fp16"}, "force_fp16"),
        ({"ge_config": str(config)}, "context.cfg:2: .*ge.externalWeight"),
        ({"ge_config": str(tmp_path / "none.cfg")}, "no file"),
    ):
        with pytest.raises(errors.SkyworkError, match=words):
            skywork_rt.Generator(out, backend="ascend", **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_commands_in_the_guide(tokenizer: Path, write_yaml: Yaml, tmp_path: Path) -> None:
    full, incremental = assign_pair(tmp_path)

    def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "skywork_rt", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    out = str(tmp_path / "skywork-ascend")
    adopted = cli(
        "adopt", str(full.parent), str(incremental.parent), out, "--tokenizer", str(tokenizer),
        "--config", str(write_yaml()),
    )  # fmt: skip
    assert (adopted.returncode, "error" in adopted.stderr) == (0, False)
    assert adopted.stdout.endswith("graphs\n")
    generated = cli("generate", out, "the", "--device", "ascend")
    assert (generated.returncode, generated.stdout) == (1, "")
    assert generated.stderr.startswith('error: The device "ascend" cannot be used: libascendcl.so and libge_runner.so')
    shown = cli("info", out, "--verify").stdout
    assert "device-cache/full (ge, float16, assign)" in " ".join(shown.split())
