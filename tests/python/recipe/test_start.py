"""The checkpoint that a training begins from: found, checked by its headers, converted, split and merged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_training as tiny
from safetensors.numpy import save_file

from skywork_rt.checkpoints.huggingface.names import hugging_face_name
from skywork_rt.checkpoints.mindspore.names import canonical_name
from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile
from skywork_rt.convert import Parallelism, convert, split
from skywork_rt.errors import CheckpointError, InvalidArgumentError
from skywork_rt.recipe.train.launched import launch_of
from skywork_rt.recipe.train.plan import Plan, TrainOptions, make_plan
from skywork_rt.recipe.train.prepare_start import prepare_start
from skywork_rt.recipe.train.settings import at, put, read_settings
from skywork_rt.support.stages import no_progress

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": tiny.VOCABULARY,
    "max_position_embeddings": tiny.LENGTH,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
Weights = dict[str, np.ndarray]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a configuration, a pair of files that stands for the data, and a Hugging Face directory."""
    for name in ("train.mindrecord", "train.mindrecord.db"):
        (tmp_path / name).write_bytes(b"x")
    tiny.write_settings(tmp_path / "tiny.yaml", tiny.settings(tmp_path / "train.mindrecord"))
    write_hugging_face(tmp_path / "hf", tiny.initial_weights())
    return tmp_path


def write_hugging_face(directory: Path, weights: Weights) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    save_file(
        {hugging_face_name(canonical_name(name) or name): value for name, value in weights.items()},
        directory / "model.safetensors",
    )
    return directory


def plan_of(place: Path, checkpoint: str, *changes: tuple[str, object], **options: object) -> Plan:
    given = {"run_mode": "finetune", "load_checkpoint": str(place / checkpoint), "output_dir": str(place / "out")}
    return make_plan(str(place / "tiny.yaml"), TrainOptions(changes=changes, **{**given, **options}))  # type: ignore[arg-type]


def test_a_hugging_face_directory_is_converted_into_the_output_folder(place: Path) -> None:
    plan = plan_of(place, "hf")
    path = prepare_start(plan, no_progress)
    assert path is not None
    assert place / "out" in path.parents
    file = CkptFile(path)
    for name, value in tiny.initial_weights().items():
        assert np.array_equal(file.read(name), value), name
    before = path.stat().st_mtime_ns
    assert prepare_start(plan_of(place, "hf"), no_progress) == path
    assert path.stat().st_mtime_ns == before, "it is made once"


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_a_file_of_mindspore_is_taken_as_it_is_or_as_a_ckpt(place: Path, name: str) -> None:
    convert(place / "hf", place / name)
    path = prepare_start(plan_of(place, name), no_progress)
    assert path is not None and path.suffix == ".ckpt"
    assert (path == place / name) == (name == "model.ckpt")
    assert np.array_equal(CkptFile(path).read("lm_head.weight"), tiny.initial_weights()["lm_head.weight"])


def test_missing_surplus_and_wrong_tensors_are_named_before_anything_starts(place: Path) -> None:
    weights = tiny.initial_weights()
    lost = weights.pop("model.layers.1.feed_forward.w2.weight")
    write_hugging_face(place / "hf", weights)
    with pytest.raises(CheckpointError, match=r"lacks 1 of 21 tensors.*layers\.1\.feed_forward\.w2"):
        plan_of(place, "hf")
    write_hugging_face(place / "hf", {**weights, "model.layers.1.feed_forward.w2.weight": lost.T.copy()})
    with pytest.raises(CheckpointError, match=r"w2\.weight is \[88, 32\], not \[32, 88\]"):
        plan_of(place, "hf")
    write_hugging_face(place / "hf", tiny.initial_weights())
    with pytest.raises(CheckpointError, match="has 9 tensors that the model"):
        plan_of(place, "hf", ("model.model_config.num_layers", 1))
    with pytest.raises(CheckpointError, match=r"tok_embeddings.* is \[128, 32\], not \[64, 32\]"):
        plan_of(place, "hf", ("model.model_config.vocab_size", 64))


def test_what_is_no_checkpoint_is_refused_by_its_name(place: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="nowhere does not exist"):
        plan_of(place, "nowhere")
    (place / "empty").mkdir()
    with pytest.raises(CheckpointError, match="0 checkpoint files"):
        plan_of(place, "empty")
    (place / "x.ckpt").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(CheckpointError, match=r"x\.ckpt"):
        plan_of(place, "x.ckpt")
    with pytest.raises(CheckpointError, match=r"ends in '\.yaml'"):
        plan_of(place, "tiny.yaml")
    with pytest.raises(InvalidArgumentError, match="finetune needs weights"):
        make_plan(str(place / "tiny.yaml"), TrainOptions(run_mode="finetune"))
    with pytest.raises(InvalidArgumentError, match="has no checkpoint"):
        make_plan(str(place / "tiny.yaml"), TrainOptions(resume_training=True, output_dir=str(place / "none")))


def test_auto_trans_ckpt_merges_parts_for_one_card(place: Path) -> None:
    convert(place / "hf", place / "model.ckpt")
    split(place / "model.ckpt", place / "parts", Parallelism(model_parallel=2))
    with pytest.raises(InvalidArgumentError, match="src_strategy_path_or_dir"):
        prepare_start(plan_of(place, "parts", auto_trans_ckpt=True), no_progress)
    strategy = ("src_strategy_path_or_dir", str(place / "parts" / "strategy"))
    path = prepare_start(plan_of(place, "parts", strategy, auto_trans_ckpt=True), no_progress)
    assert path is not None
    for name, value in tiny.initial_weights().items():
        assert np.array_equal(CkptFile(path).read(name), value), name
    with pytest.raises(CheckpointError, match="another shape"):
        plan_of(place, "parts")


def test_auto_trans_ckpt_splits_for_the_ranks(place: Path) -> None:
    """Tensor parallelism needs Ascend to run; what is done before it starts does not."""
    plan = plan_of(place, "hf", auto_trans_ckpt=True)
    put(plan.settings, "parallel_config.model_parallel", 2)
    put(plan.settings, "use_parallel", True)
    plan = replace(plan, parallel="semi_auto_parallel")
    launch = launch_of(plan, no_progress)
    assert launch.ranks == 2
    settings = read_settings(place / "out" / "config" / "launch.yaml")
    assert settings["auto_trans_ckpt"] is False
    made = Path(at(settings, "load_checkpoint"))
    whole = tiny.initial_weights()["model.layers.0.attention.wq.weight"]
    for rank in range(2):
        (file,) = (made / f"rank_{rank}").glob("*.ckpt")
        part = CkptFile(file).read("model.layers.0.attention.wq.weight")
        assert np.array_equal(part, whole[16 * rank : 16 * rank + 16])


def test_data_files_are_a_whole_pair(place: Path) -> None:
    (place / "train.mindrecord.db").unlink()
    with pytest.raises(InvalidArgumentError, match=r"no index train\.mindrecord\.db"):
        plan_of(place, "hf")
    (place / "train.mindrecord").unlink()
    with pytest.raises(InvalidArgumentError, match="skywork-rt prepare"):
        plan_of(place, "hf")
