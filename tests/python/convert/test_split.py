"""split, merge and strategy files, without MindSpore; `test_against_mindspore` compares with its own tool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_checkpoints import UNTIED, arrays_of, assert_equal, hugging_face, mindspore_arrays, small, write_file

from skywork_rt.checkpoints.mindspore.strategy import ParameterLayout, read_strategy, strategy_bytes
from skywork_rt.checkpoints.open import open_source
from skywork_rt.cli.app import run as cli
from skywork_rt.convert import Parallelism, merge, split
from skywork_rt.errors import CheckpointError, InvalidArgumentError, UnsupportedError

WQ = "model.layers.0.attention.wq.weight"
EMBEDDINGS = "model.tok_embeddings.embedding_weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_file(tmp_path_factory.mktemp("whole") / "whole.ckpt", mindspore_arrays(UNTIED))


def rank_file(directory: Path, rank: int) -> Path:
    return directory / f"rank_{rank}" / f"checkpoint_{rank}.ckpt"


def test_skyworks_vocabulary_is_left_whole() -> None:
    """65519 is prime. MindFormers replicates both matrices then, with vocab_emb_dp and without."""
    shapes = {EMBEDDINGS: (65519, 4608), WQ: (4608, 4608), "lm_head.weight": (65519, 4608)}
    for vocab_emb_dp in (True, False):
        layouts = Parallelism(2, 4, vocab_emb_dp=vocab_emb_dp).strategy(shapes).stages[0]
        assert layouts[EMBEDDINGS].tensor_map == ((), ())
        assert layouts["lm_head.weight"].tensor_map == ((), ())
        assert layouts[WQ] == ParameterLayout((2, 4), ((0,), ()))
    even = Parallelism(2, 4, vocab_emb_dp=False).strategy({**shapes, EMBEDDINGS: (65536, 4608)}).stages[0]
    assert even[EMBEDDINGS].tensor_map == ((0,), ())


def test_a_strategy_that_would_divide_an_odd_vocabulary_is_refused(tmp_path: Path, whole: Path) -> None:
    layouts = dict(Parallelism(1, 2).strategy({name: a.shape for name, a in arrays_of(whole).items()}).stages[0])
    layouts[EMBEDDINGS] = ParameterLayout((1, 2), ((0,), ()))
    (tmp_path / "s.ckpt").write_bytes(strategy_bytes(layouts, 0))
    with pytest.raises(CheckpointError, match=r"embedding_weight divides its dimension 0 of 1001 into 2 equal parts"):
        split(whole, tmp_path / "out", tmp_path / "s.ckpt")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("parallelism", "cause"),
    [
        (Parallelism(1, 3), r"model_parallel 3 does not divide model\.layers\.0\.attention"),
        (Parallelism(pipeline_stages=3), "4 layers do not divide into 3 pipeline stages"),
    ],
)
def test_numbers_that_do_not_divide_are_refused(
    tmp_path: Path, whole: Path, parallelism: Parallelism, cause: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=cause):
        split(whole, tmp_path / "out", parallelism)


@pytest.mark.parametrize("name", ["data_parallel", "model_parallel", "pipeline_stages"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, 1 << 20])
def test_numbers_that_cannot_be_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        Parallelism(**{name: value})


def test_a_tied_head_in_stages_is_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path / "tied.ckpt", mindspore_arrays(small(tied_embeddings=True)))
    with pytest.raises(UnsupportedError, match="the first and the last pipeline stage"):
        split(path, tmp_path / "out", Parallelism(pipeline_stages=2))
    split(path, tmp_path / "out", Parallelism(1, 2), workers=1)


def test_factors_of_updates_are_divided_with_their_layer(tmp_path: Path) -> None:
    arrays = mindspore_arrays(small())
    for name in ("model.layers.0.attention.wq", "model.layers.0.attention.wo"):
        rows, columns = arrays[f"{name}.weight"].shape
        arrays[f"{name}.mindpet_delta_lora_a"] = np.ones((2, columns), np.float32)
        arrays[f"{name}.mindpet_delta_lora_b"] = np.ones((rows, 2), np.float32)
    path = write_file(tmp_path / "lora.ckpt", arrays)
    split(path, tmp_path / "out", Parallelism(1, 2), workers=1)
    found = {name: values.shape for name, values in arrays_of(rank_file(tmp_path / "out", 1)).items()}
    assert found["model.layers.0.attention.wq.mindpet_delta_lora_a"] == (2, 64)
    assert found["model.layers.0.attention.wq.mindpet_delta_lora_b"] == (32, 2)
    assert found["model.layers.0.attention.wo.mindpet_delta_lora_a"] == (2, 32)
    assert found["model.layers.0.attention.wo.mindpet_delta_lora_b"] == (64, 2)


def test_moments_follow_their_weights_when_the_strategy_does_not_name_them(tmp_path: Path, whole: Path) -> None:
    weights = arrays_of(whole)
    moments = {f"adam_m.{name}": values for name, values in weights.items()}
    counters = {"global_step": np.array([3], np.int32)}
    run = write_file(tmp_path / "run.ckpt", weights | moments | counters)
    split(whole, tmp_path / "made", Parallelism(2, 2, 2), workers=1)
    split(run, tmp_path / "ranks", tmp_path / "made" / "strategy", workers=1)
    for rank in range(8):
        found = arrays_of(rank_file(tmp_path / "ranks", rank))
        for name, values in arrays_of(rank_file(tmp_path / "made", rank)).items():
            np.testing.assert_array_equal(found[name], values)
            np.testing.assert_array_equal(found[f"adam_m.{name}"], values)
        assert found["global_step"] == 3
    merge(tmp_path / "ranks", tmp_path / "made" / "strategy", tmp_path / "back.ckpt", workers=1)
    assert_equal(arrays_of(tmp_path / "back.ckpt"), arrays_of(run))


@pytest.mark.slow
def test_from_ranks_to_other_ranks_in_one_go(tmp_path: Path, whole: Path) -> None:
    split(whole, tmp_path / "a", Parallelism(2, 2, 2, optimizer_shard=True), workers=1)
    split(tmp_path / "a", tmp_path / "b", Parallelism(1, 4), source_strategy=tmp_path / "a" / "strategy", workers=2)
    split(whole, tmp_path / "c", Parallelism(1, 4), workers=1)
    for rank in range(4):
        assert_equal(arrays_of(rank_file(tmp_path / "b", rank)), arrays_of(rank_file(tmp_path / "c", rank)))
    with pytest.raises(InvalidArgumentError, match="--source-strategy"):
        split(tmp_path / "a", tmp_path / "d", Parallelism(1, 4))


def test_a_safetensors_file_gives_safetensors_ranks(tmp_path: Path) -> None:
    path = write_file(tmp_path / "whole.safetensors", mindspore_arrays(small()))
    split(path, tmp_path / "ranks", Parallelism(1, 2), prefix="x_", workers=1)
    assert (tmp_path / "ranks" / "rank_1" / "x_1.safetensors").is_file()
    merge(tmp_path / "ranks", tmp_path / "ranks" / "strategy", tmp_path / "back.safetensors", workers=1)
    assert (tmp_path / "back.safetensors").read_bytes() == path.read_bytes()


@pytest.fixture
def ranks(tmp_path: Path, whole: Path) -> Path:
    split(whole, tmp_path / "ranks", Parallelism(2, 2), workers=1)
    return tmp_path / "ranks"


def test_a_rank_that_only_repeats_others_may_be_missing(tmp_path: Path, whole: Path, ranks: Path) -> None:
    shutil.rmtree(ranks / "rank_1")
    merge(ranks, ranks / "strategy", tmp_path / "back.ckpt", workers=1)
    assert (tmp_path / "back.ckpt").read_bytes() == whole.read_bytes()
    shutil.rmtree(ranks / "rank_3")
    with pytest.raises(CheckpointError, match=r"no checkpoint of rank_1, which holds a part of model\.layers\.0"):
        merge(ranks, ranks / "strategy", tmp_path / "again.ckpt")


def test_ranks_that_do_not_fit_are_named(tmp_path: Path, ranks: Path) -> None:
    arrays = arrays_of(rank_file(ranks, 1))
    write_file(rank_file(ranks, 1), {name: a for name, a in arrays.items() if name != WQ})
    with pytest.raises(CheckpointError, match=rf"rank_1/checkpoint_1\.ckpt lacks {WQ}"):
        merge(ranks, ranks / "strategy", tmp_path / "back.ckpt")
    write_file(rank_file(ranks, 1), arrays | {WQ: arrays[WQ][1:]})
    with pytest.raises(CheckpointError, match=r"is float32\[31, 64\]; .* ask for float32\[32, 64\]"):
        merge(ranks, ranks / "strategy", tmp_path / "back.ckpt")
    write_file(rank_file(ranks, 1), arrays | {WQ: arrays[WQ].astype(np.float16)})
    with pytest.raises(CheckpointError, match=r"is float16\[32, 64\]"):
        merge(ranks, ranks / "strategy", tmp_path / "back.ckpt")
    (ranks / "rank_4").mkdir()
    with pytest.raises(CheckpointError, match=r"has rank_4, but the strategy is for 4 ranks"):
        merge(ranks, ranks / "strategy", tmp_path / "back.ckpt")


def test_the_last_checkpoint_of_a_rank_is_taken_and_said(
    tmp_path: Path, ranks: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Names count as numbers do: step 10 comes after step 9."""
    for rank in range(4):
        file = rank_file(ranks, rank)
        file.rename(file.with_name("zh-1_10.ckpt"))
        write_file(file.with_name("zh-1_9.ckpt"), {WQ: np.zeros((1, 1), np.float32)})
    merge(ranks, ranks / "strategy", tmp_path / "back.ckpt", workers=1)
    assert (tmp_path / "back.ckpt").read_bytes() == whole.read_bytes()
    assert "2 checkpoints; zh-1_10.ckpt is taken" in caplog.text


def test_source_and_strategy_that_do_not_fit_are_named(tmp_path: Path, whole: Path, ranks: Path) -> None:
    arrays = arrays_of(whole)
    less = write_file(tmp_path / "less.ckpt", {name: a for name, a in arrays.items() if name != WQ})
    with pytest.raises(CheckpointError, match=rf"less\.ckpt lacks {WQ}, which strategy divides"):
        split(less, tmp_path / "out", ranks / "strategy")
    more = write_file(tmp_path / "more.ckpt", arrays | {"model.layers.4.ffn_norm.weight": np.ones(64, np.float32)})
    with pytest.raises(CheckpointError, match=r"no layout for model\.layers\.4\.ffn_norm\.weight"):
        split(more, tmp_path / "out", ranks / "strategy")
    other = write_file(tmp_path / "other.ckpt", arrays | {"model.layers.0.attention.wx.weight": arrays[WQ]})
    with pytest.raises(CheckpointError, match="the nearest known name is"):
        split(other, tmp_path / "out", Parallelism(1, 2))


# The configuration beside


def beside(folder: Path, **changes: Any) -> Path:
    """A config.json of the model that `whole` is."""
    source = hugging_face(folder.parent / f"{folder.name}-hf", UNTIED, tokenizer="sentencepiece")
    body = {**json.loads((source / "config.json").read_text()), **changes}
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(source / name, folder)
    (folder / "config.json").write_text(json.dumps(body))
    return folder / "config.json"


@pytest.mark.parametrize("kind", ["config.json", "model.yaml"])
def test_heads_that_model_parallel_does_not_divide_are_refused(tmp_path: Path, whole: Path, kind: str) -> None:
    source = tmp_path / "ms" / "whole.ckpt"
    source.parent.mkdir()
    shutil.copy(whole, source)
    split(source, tmp_path / "unknown", Parallelism(1, 8), workers=1)
    if kind == "config.json":
        beside(source.parent)
    else:
        section = {"type": "LlamaConfig", "num_heads": UNTIED.heads, "n_kv_heads": UNTIED.kv_heads}
        (source.parent / kind).write_text(yaml.safe_dump({"model": {"model_config": section}}))
    assert (UNTIED.heads, UNTIED.kv_heads) == (4, 2)
    with pytest.raises(InvalidArgumentError, match=rf"8 does not divide the 4 heads that .*{kind} states"):
        split(source, tmp_path / "out", Parallelism(1, 8))
    with pytest.raises(InvalidArgumentError, match="4 does not divide the 2 key/value heads"):
        split(source, tmp_path / "out", Parallelism(1, 4))
    split(source, tmp_path / "out", Parallelism(4, 2), workers=1)
    shutil.copy(source.parent / kind, tmp_path / "out" / "rank_0")
    with pytest.raises(InvalidArgumentError, match=rf"4 heads that .*rank_0/{kind} states"):
        split(tmp_path / "out", tmp_path / "b", Parallelism(1, 8), source_strategy=tmp_path / "out" / "strategy")


def test_a_merged_checkpoint_has_its_configuration_beside(tmp_path: Path, ranks: Path) -> None:
    beside(ranks)
    report = merge(ranks, ranks / "strategy", tmp_path / "out" / "back.ckpt", workers=1)
    assert report.written_beside == ["config.json", "tokenizer.model", "tokenizer_config.json"]
    assert "beside it: config.json, tokenizer.model, tokenizer_config.json" in report.lines()
    found = open_source(tmp_path / "out" / "back.ckpt")
    assert found.config.layers == UNTIED.layers
    assert found.tokenizer() is not None


def test_the_yaml_of_a_training_goes_along_as_it_is(tmp_path: Path, ranks: Path) -> None:
    section = {
        "type": "LlamaConfig",
        "num_layers": UNTIED.layers,
        "hidden_size": UNTIED.hidden_size,
        "intermediate_size": UNTIED.intermediate_size,
        "num_heads": UNTIED.heads,
        "n_kv_heads": UNTIED.kv_heads,
        "vocab_size": UNTIED.vocab_size,
        "theta": 5e5,
    }
    for rank in range(4):
        (ranks / f"rank_{rank}" / "model.yaml").write_text(yaml.safe_dump({"model": {"model_config": section}}))
    out = tmp_path / "out" / "back.ckpt"
    assert merge(ranks, ranks / "strategy", out, workers=1).written_beside == ["model.yaml"]
    assert open_source(out).config.rope.theta == 5e5
    assert merge(ranks, ranks / "strategy", out, workers=1, overwrite=True).written_beside == []
    (out.parent / "model.yaml").unlink()
    beside(out.parent)
    with pytest.raises(InvalidArgumentError, match=r"config\.json is there already.*rope_theta"):
        merge(ranks, ranks / "strategy", out.with_name("other.ckpt"), workers=1)
    assert not out.with_name("other.ckpt").exists()


# Strategy files


def test_json_and_protobuf_say_the_same(tmp_path: Path) -> None:
    body = {
        "current_stage": 0,
        "parallel_strategy_item": {"MatMul": {"stage": 0, "parallel_strategy": [[1, 1]]}},
        "parallel_layout_item": {
            WQ: {
                "dev_matrix": [2, 2],
                "tensor_map": [0, -1],
                "param_split_shape": [],
                "indices_offset": [],
                "field": 0,
                "opt_weight_shard_step": 2,
                "opt_weight_shard_size": 2,
            }
        },
    }
    (tmp_path / "s.json").write_text(json.dumps(body))
    layout = ParameterLayout((2, 2), ((0,), ()), 2, 2)
    (tmp_path / "s.ckpt").write_bytes(strategy_bytes({WQ: layout}, 0))
    for file in ("s.json", "s.ckpt"):
        found = read_strategy(tmp_path / file)
        assert (found.stages, found.devices) == ([{WQ: layout}], 4)


def test_stages_come_from_a_directory_and_all_must_be_there(tmp_path: Path) -> None:
    layout = ParameterLayout((1, 2), ((0,), ()))
    for stage in range(3):
        content = strategy_bytes({f"model.layers.{stage}.attention.wq.weight": layout}, stage)
        (tmp_path / f"ckpt_strategy_rank_{2 * stage}.ckpt").write_bytes(content)
        (tmp_path / f"ckpt_strategy_rank_{2 * stage + 1}.ckpt").write_bytes(content)
    found = read_strategy(tmp_path)
    assert (found.ranks, found.devices, len(found.stages)) == (6, 2, 3)
    for rank in (2, 3):
        (tmp_path / f"ckpt_strategy_rank_{rank}.ckpt").unlink()
    with pytest.raises(CheckpointError, match="no layouts of stage 1, but some of stage 2"):
        read_strategy(tmp_path)
    with pytest.raises(CheckpointError, match="no layouts of stage 0"):
        read_strategy(tmp_path / "ckpt_strategy_rank_4.ckpt")
    other = ParameterLayout((2, 1), ((1,), ()))
    (tmp_path / "ckpt_strategy_rank_5.ckpt").write_bytes(
        strategy_bytes({"model.layers.2.attention.wq.weight": other}, 2)
    )
    with pytest.raises(CheckpointError, match="give stage 2 different layouts"):
        read_strategy(tmp_path)


@pytest.mark.parametrize(
    ("layout", "cause"),
    [
        (ParameterLayout((2, 2), ((2,), ())), "divides its axes among"),
        (ParameterLayout((2, 2), ((0,), (0,))), "divides its axes among"),
        (ParameterLayout((1 << 21,), ()), "arranges its ranks"),
        (ParameterLayout((1 << 15, 1 << 15), ()), "ranks; at most"),
        (ParameterLayout((2,), (), 1, 1 << 30), "optimizer shard"),
    ],
)
def test_layouts_that_cannot_be_are_refused(tmp_path: Path, layout: ParameterLayout, cause: str) -> None:
    (tmp_path / "s.ckpt").write_bytes(strategy_bytes({WQ: layout}, 0))
    with pytest.raises(CheckpointError, match=cause):
        read_strategy(tmp_path / "s.ckpt")


@pytest.mark.parametrize(
    ("layout", "cause"),
    [
        (ParameterLayout((2, 2), ((1,), (0,)), 1, 2), "no two ranks hold the same part"),
        (ParameterLayout((2, 2), ((0,), ()), 1, 2), "optimizer shard of step 1; expected 2"),
        (ParameterLayout((2, 3), ((0,), ()), 3, 4), "cannot form"),
        (ParameterLayout((2, 2), ((0,),)), "is for 1 dimensions, but the tensor has 2"),
        (ParameterLayout((2, 5), ((0,), ())), "divides its dimension 0 of 64 into 5"),
    ],
)
def test_layouts_that_do_not_fit_a_tensor_are_refused(tmp_path: Path, layout: ParameterLayout, cause: str) -> None:
    path = write_file(tmp_path / "w.ckpt", {WQ: np.zeros((64, 64), np.float32)})
    (tmp_path / "s.ckpt").write_bytes(strategy_bytes({WQ: layout}, 0))
    with pytest.raises(CheckpointError, match=cause):
        split(path, tmp_path / "out", tmp_path / "s.ckpt")


GOOD = strategy_bytes(
    {WQ: ParameterLayout((2, 2), ((0,), ()), 2, 2), EMBEDDINGS: ParameterLayout((2, 2), ((1, 0), ()))}, 0
)


SHARD_STEP = GOOD.index(b"\x30\x02")  # key and value of opt_weight_shard_step


@settings(max_examples=300)
@example(changes=[(SHARD_STEP, 0x32), (SHARD_STEP + 1, 0)], cut=len(GOOD))  # a list without values for a number
@given(changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4), cut=st.integers(1))
def test_any_bytes_are_a_strategy_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(GOOD)
    for place, value in changes:
        content[place] = value
    path = tmp_path_factory.getbasetemp() / "fuzz.ckpt"
    path.write_bytes(content[:cut])
    try:
        read_strategy(path)
    except CheckpointError as error:
        assert "fuzz.ckpt" in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150)
@given(matrix=JSON, axes=JSON, step=JSON, stage=JSON, item=JSON)
def test_any_json_is_a_strategy_or_refused(
    tmp_path_factory: pytest.TempPathFactory, matrix: Any, axes: Any, step: Any, stage: Any, item: Any
) -> None:
    layout = {"dev_matrix": matrix, "tensor_map": axes, "opt_weight_shard_step": step, "opt_weight_shard_size": step}
    body = {"parallel_strategy_item": {"x": {"stage": stage}}, "parallel_layout_item": {WQ: layout, "other": item}}
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(json.dumps(body))
    try:
        read_strategy(path)
    except CheckpointError as error:
        assert "fuzz.json" in str(error)


# The commands


def test_the_commands_divide_and_join(tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranks, back = tmp_path / "ranks", tmp_path / "back.ckpt"
    numbers = ["--data-parallel", "2", "--model-parallel", "2", "--optimizer-shard", "--workers", "1"]
    assert cli(["split", str(whole), str(ranks), *numbers]) == 0
    assert "for 4 ranks" in capsys.readouterr().out
    assert cli(["merge", str(ranks), str(back), "--strategy", str(ranks / "strategy"), "--workers", "1"]) == 0
    assert back.read_bytes() == whole.read_bytes()
    assert "peak memory" in capsys.readouterr().out
    assert cli(["split", str(whole), str(tmp_path / "x")]) == 2
    assert "give either --strategy" in capsys.readouterr().err
    both = ["--strategy", str(ranks / "strategy"), "--model-parallel", "2"]
    assert cli(["split", str(whole), str(tmp_path / "x"), *both]) == 2
    assert cli(["merge", str(ranks), str(tmp_path / "x.bin"), "--strategy", str(ranks / "strategy")]) == 2
    assert cli(["merge", str(ranks), str(tmp_path / "x.ckpt"), "--strategy", str(tmp_path / "none")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert cli(["split", str(tmp_path / "none.ckpt"), str(tmp_path / "x"), "--model-parallel", "2"]) == 1
