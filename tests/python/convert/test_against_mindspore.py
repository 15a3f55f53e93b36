"""What we write is what MindSpore and MindFormers write, and they read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mindspore_oracle import MindSpore
from numpy.typing import NDArray
from small_checkpoints import UNTIED, Arrays, arrays_of, assert_equal

from skywork_rt.checkpoints.huggingface.config import read_config
from skywork_rt.checkpoints.mindspore.config import read_configuration
from skywork_rt.checkpoints.mindspore.names import mindspore_name
from skywork_rt.checkpoints.mindspore.strategy import ParameterLayout, read_strategy, strategy_bytes
from skywork_rt.checkpoints.synthetic.huggingface_directory import write_random_hf
from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.checkpoints.tensors import ckpt_layout
from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile
from skywork_rt.checkpoints.tensors.rounding import converted
from skywork_rt.checkpoints.tensors.safetensors_file import SafetensorsFile
from skywork_rt.convert import Parallelism, convert, merge, split
from skywork_rt.convert.ranks import RankedCheckpoint

pytestmark = pytest.mark.slow


def for_mindspore(path: Path) -> Arrays:
    """The same for `MindSpore.save`, which takes bfloat16 as float32 under a name that says so."""
    file = CkptFile(path)
    return {
        name + (":bfloat16" if info.dtype == "bfloat16" else ""): (
            file.read(name) if info.dtype == "bfloat16" else file.read_array(name)
        )
        for name, info in file.tensors.items()
    }


@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_ckpt_has_the_bytes_that_mindspore_saves(
    mindspore: MindSpore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, crc: bool
) -> None:
    """With slices, whose size is set to 8 KiB on both sides."""
    monkeypatch.setattr(ckpt_layout, "SLICE_BYTES", 8 << 10)
    model = write_random_hf(tmp_path / "hf", UNTIED, 3, dtype=dtype, tokenizer="none")  # type: ignore[arg-type]
    convert(model, tmp_path / "ours.ckpt", crc=crc)
    mindspore.save(for_mindspore(tmp_path / "ours.ckpt"), tmp_path / "theirs.ckpt", crc_check=crc, slice_kib=8)
    ours, theirs = (tmp_path / "ours.ckpt").read_bytes(), (tmp_path / "theirs.ckpt").read_bytes()
    assert len(ours) > 40 * (8 << 10)
    assert ours == theirs


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_mindspore_loads_what_we_write(mindspore: MindSpore, tmp_path: Path, suffix: str) -> None:
    model = write_random_hf(tmp_path / "hf", UNTIED, 3, dtype="bfloat16", tokenizer="none")
    out = tmp_path / f"ours{suffix}"
    convert(model, out)
    options = {"format": "safetensors"} if suffix == ".safetensors" else {}
    loaded, kinds = mindspore.load(out, **options)
    source = SafetensorsFile(model / "model.safetensors")
    assert set(kinds.values()) == {"BFloat16"}
    assert sorted(loaded) == sorted(mindspore_name(name) for name in UNTIED.tensor_shapes())
    np.testing.assert_array_equal(loaded["model.norm_out.weight"], source.read("model.norm.weight"))
    np.testing.assert_array_equal(
        loaded["model.layers.3.feed_forward.w3.weight"], source.read("model.layers.3.mlp.up_proj.weight")
    )


def test_mindspores_safetensors_is_read(mindspore: MindSpore, tmp_path: Path) -> None:
    model = write_random_hf(tmp_path / "hf", UNTIED, 3, dtype="float16", tokenizer="none")
    convert(model, tmp_path / "ours.ckpt")
    mindspore.save(for_mindspore(tmp_path / "ours.ckpt"), tmp_path / "theirs.safetensors", format="safetensors")
    convert(tmp_path / "theirs.safetensors", tmp_path / "back.ckpt")
    assert_equal(arrays_of(tmp_path / "back.ckpt"), arrays_of(tmp_path / "ours.ckpt"))


def test_rounding_is_mindspores(mindspore: MindSpore, tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    values = (draw.standard_normal(20000) * 10.0 ** draw.integers(-12, 4, 20000)).astype(np.float32)
    halfway = np.array([1 + 2**-8, 1 + 3 * 2**-8, 2**-133, np.inf, -np.inf, 3.4e38, -0.0], np.float32)
    values = np.concatenate([values, halfway])
    mindspore.save({"x:bfloat16": values}, tmp_path / "x.ckpt")
    np.testing.assert_array_equal(
        CkptFile(tmp_path / "x.ckpt").read_array("x"), converted(values, "float32", "bfloat16")
    )
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(converted(values, "float32", "float16"), values.astype(np.float16))
    back = converted(converted(values, "float32", "bfloat16"), "bfloat16", "float16")
    with np.errstate(over="ignore"):
        expected = CkptFile(tmp_path / "x.ckpt").read("x").astype(np.float16)
    np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"tied_embeddings": False}, {}),
        ({"tied_embeddings": True}, {"tie_word_embeddings": True}),
        ({"tied_embeddings": False, "qkv_bias": True}, {"qkv_has_bias": True}),
    ],
)
def test_names_are_those_of_mindformers_network(
    mindspore: MindSpore, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    config = with_changes(preset("tiny"), **changes)
    base = {
        "num_layers": config.layers,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_heads": config.heads,
        "n_kv_heads": config.kv_heads,
        "vocab_size": config.vocab_size,
        "seq_length": 32,
    }
    found = mindspore.run("parameter_names", base | options)
    assert sorted(found) == sorted(mindspore_name(name) for name in config.tensor_shapes())


YARN = {"factor": 4.0, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.5}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("method", "scaling"),
    [
        ("None", 1.0),
        ("PI", 4.0),
        ("NTK", 2.0),
        ("LLAMA3", {**LLAMA3, "original_max_position_embeddings": 64}),
        ("YARN", {**YARN, "original_max_position_embeddings": 64}),
    ],
)
def test_rotary_angles_are_those_of_mindformers(
    mindspore: MindSpore, tmp_path: Path, method: str, scaling: Any
) -> None:
    """Up to the table of cosines. MindFormers 1.8.0 itself refuses every factor of its method "linear"."""
    config = preset("tiny")
    mindspore.run("cosines", 32, 256, 10000.0, method, scaling, tmp_path / "table.npy")
    section = {
        "num_layers": config.layers,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_heads": config.hidden_size // 32,
        "n_kv_heads": 1,
        "vocab_size": config.vocab_size,
        "seq_length": 256,
        "extend_method": method,
        "scaling_factor": scaling,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"model": {"model_config": section}}))
    rope = read_config(read_configuration(tmp_path / "run.yaml").values, "model").rope
    angles = np.outer(np.arange(256), np.array(rope.inverse_frequencies))
    ours = np.cos(np.concatenate([angles, angles], axis=1)) * rope.attention_factor
    np.testing.assert_allclose(ours, np.load(tmp_path / "table.npy"), atol=5e-5)


# Split and merge

LAYOUTS = {
    "mp2": Parallelism(model_parallel=2),
    "dp2 mp2": Parallelism(2, 2),
    "dp4, optimizer shard": Parallelism(4, optimizer_shard=True),
    "dp2 mp2, optimizer shard": Parallelism(2, 2, optimizer_shard=True),
    "pp2": Parallelism(pipeline_stages=2),
    "dp2 mp2 pp2, optimizer shard": Parallelism(2, 2, 2, optimizer_shard=True),
}


def transformed(
    mindspore: MindSpore, whole: Path, strategy: Path, directory: Path, prefix: str = "checkpoint_"
) -> dict[int, Arrays]:
    """The ranks' tensors that mindspore.transform_checkpoints makes of `whole`."""
    folder = directory / "whole" / "rank_0"
    folder.mkdir(parents=True)
    (folder / "c.ckpt").write_bytes(whole.read_bytes())
    mindspore.run("merge_strategies", strategy, directory / "merged.ckpt")
    mindspore.run("transform", directory / "whole", directory / "theirs", prefix, None, directory / "merged.ckpt")
    ranks = sorted(int(path.name[5:]) for path in (directory / "theirs").iterdir())
    return {rank: arrays_of(directory / "theirs" / f"rank_{rank}" / f"{prefix}{rank}.ckpt") for rank in ranks}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose vocabulary, 1001, no even number divides."""
    directory = tmp_path_factory.mktemp("whole")
    model = write_random_hf(directory / "hf", UNTIED, 3, dtype="float16", tokenizer="none")
    convert(model, directory / "whole.ckpt")
    return directory / "whole.ckpt"


@pytest.mark.parametrize("case", LAYOUTS)
def test_split_and_merge_equal_mindspores(mindspore: MindSpore, tmp_path: Path, whole: Path, case: str) -> None:
    workers = 2 if case == "dp2 mp2" else 1
    split(whole, tmp_path / "ours", LAYOUTS[case], workers=workers)
    expected = transformed(mindspore, whole, tmp_path / "ours" / "strategy", tmp_path)
    assert len(expected) == LAYOUTS[case].ranks
    for rank, arrays in expected.items():
        assert_equal(arrays_of(tmp_path / "ours" / f"rank_{rank}" / f"checkpoint_{rank}.ckpt"), arrays)
    merge(tmp_path / "ours", tmp_path / "ours" / "strategy", tmp_path / "back.ckpt", workers=workers)
    assert (tmp_path / "back.ckpt").read_bytes() == whole.read_bytes()
    # The same from MindSpore's ranks and from its merged strategy file.
    merge(tmp_path / "theirs", tmp_path / "merged.ckpt", tmp_path / "again.ckpt", workers=1)
    assert_equal(arrays_of(tmp_path / "again.ckpt"), arrays_of(whole))


@pytest.mark.parametrize(
    "layout",
    [
        ParameterLayout((2, 2), ((0,), (1,))),
        ParameterLayout((2, 2), ((1,), ())),
        ParameterLayout((2, 3, 2), ((1,), ())),
        ParameterLayout((2, 2), ((1, 0), ())),
        ParameterLayout((2, 2), ((), (1, 0))),
        ParameterLayout((2, 2, 2), ((2, 0), (1,))),
        ParameterLayout((2, 2), ((0,), ()), 2, -1),
        ParameterLayout((2, 2), ((1,), ()), 1, 2),
        ParameterLayout((4, 2), ((0,), ()), 2, 2),
        ParameterLayout((2, 2, 2), ((1,), ()), 1, 2),
        ParameterLayout((2, 2, 2), ((1,), ()), 1, 4),
        ParameterLayout((2, 4), ((), ()), 1, 8),
        ParameterLayout((2, 4), ((), ()), 1, 4),
    ],
    ids=str,
)
def test_other_layouts_are_divided_as_mindspore_does(
    mindspore: MindSpore, tmp_path: Path, layout: ParameterLayout
) -> None:
    values = np.arange(48 * 24, dtype=np.float32).reshape(48, 24)
    name = "model.layers.0.attention.wq.weight"
    mindspore.save({name: values}, tmp_path / "whole.ckpt")
    strategy = tmp_path / "strategy"
    strategy.mkdir()
    (strategy / "ckpt_strategy_rank_0.ckpt").write_bytes(strategy_bytes({name: layout}, 0))
    expected = transformed(mindspore, tmp_path / "whole.ckpt", strategy, tmp_path)
    split(tmp_path / "whole.ckpt", tmp_path / "ours", strategy, workers=1)
    for rank, arrays in expected.items():
        assert_equal(arrays_of(tmp_path / "ours" / f"rank_{rank}" / f"checkpoint_{rank}.ckpt"), arrays)
    ranked = RankedCheckpoint(tmp_path / "ours", read_strategy(strategy))
    np.testing.assert_array_equal(ranked.read_array(name), values)
    for start in range(0, 48, 7):
        np.testing.assert_array_equal(ranked.read_array(name, start, 48), values[start:])


def test_moments_go_with_their_weights_where_the_strategy_names_them(
    mindspore: MindSpore, tmp_path: Path, whole: Path
) -> None:
    arrays = for_mindspore(whole)
    state: Arrays = {
        f"adam_{kind}.{name}": values.astype(np.float32) for name, values in arrays.items() for kind in "mv"
    }
    counters: Arrays = {"global_step": np.array([7], np.int32), "scale_sense": np.array(65536.0, np.float32)}
    mindspore.save(arrays | state | counters, tmp_path / "run.ckpt")
    split(tmp_path / "run.ckpt", tmp_path / "ours", Parallelism(2, 2, optimizer_shard=True), workers=1)
    expected = transformed(mindspore, tmp_path / "run.ckpt", tmp_path / "ours" / "strategy", tmp_path)
    for rank, theirs in expected.items():
        ours = arrays_of(tmp_path / "ours" / f"rank_{rank}" / f"checkpoint_{rank}.ckpt")
        assert_equal(ours, theirs)
        assert (
            ours["adam_v.model.layers.1.attention.wo.weight"].shape == ours["model.layers.1.attention.wo.weight"].shape
        )
        assert ours["global_step"] == 7
    merge(tmp_path / "ours", tmp_path / "ours" / "strategy", tmp_path / "back.ckpt", workers=1)
    assert_equal(arrays_of(tmp_path / "back.ckpt"), arrays_of(tmp_path / "run.ckpt"))


# Low-rank updates

BASE = {
    "num_layers": 2,
    "hidden_size": 64,
    "num_heads": 4,
    "n_kv_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 101,
    "seq_length": 16,
}


def test_merged_low_rank_updates_give_mindformers_own_logits(mindspore: MindSpore, tmp_path: Path) -> None:
    mindspore.run("lora_forward", BASE, tmp_path / "lora.ckpt", 3)
    before: NDArray[Any] = np.load(tmp_path / "lora.ckpt.npy")
    report = convert(tmp_path / "lora.ckpt", tmp_path / "merged.ckpt", merge_lora=tmp_path / "lora.ckpt", lora_alpha=12)
    assert report.merged == 14
    answer = mindspore.run("forward", BASE, tmp_path / "merged.ckpt", tmp_path / "merged.npy")
    assert answer["missing"] == []
    after: NDArray[Any] = np.load(tmp_path / "merged.npy")
    assert np.abs(after - before).max() < 2e-5 * np.abs(before).max()
    convert(tmp_path / "lora.ckpt", tmp_path / "other.ckpt", merge_lora=tmp_path / "lora.ckpt", lora_alpha=6)
    mindspore.run("forward", BASE, tmp_path / "other.ckpt", tmp_path / "other.npy")
    assert np.abs(np.load(tmp_path / "other.npy") - before).max() > 1e-2 * np.abs(before).max()
