"""What no tensor's shape tells is compared with the description that lies with a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_training as tiny

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.train.agreement import check_agreement
from skywork_rt.recipe.train.checkpoint_files import Start, find_start
from skywork_rt.recipe.train.settings import apply_changes, parse_change
from skywork_rt.support.stages import no_progress

CONFIG: dict[str, Any] = {
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
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}


def start_of(directory: Path, **changes: Any) -> Start:
    (directory / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    return Start(directory, "huggingface")


def model(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = tiny.settings(Path("a"))["model"]["model_config"]
    return {**config, **changes}


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"rope_theta": 500000.0}, r"theta 10000\.0 instead of 500000\.0.*--set model\.model_config\.theta=500000\.0"),
        ({"rms_norm_eps": 1e-5}, r"rms_norm_eps 1e-06 instead of 1e-05.*rms_norm_eps=1e-05"),
        ({"num_attention_heads": 8}, r"num_heads 4 instead of 8.*--set model\.model_config\.num_heads=8"),
        ({"num_key_value_heads": 4}, r"n_kv_heads 2 instead of 4"),
        ({"rope_scaling": LLAMA3}, r"extend_method default instead of llama3.*extend_method=LLAMA3.*scaling_factor="),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, r"extend_method=PI .*scaling_factor=2\.0"),
    ],
)
def test_another_model_is_refused_with_both_values_and_the_fix_that_helps(
    tmp_path: Path, theirs: dict[str, Any], said: str
) -> None:
    start, ours = start_of(tmp_path, **theirs), model()
    with pytest.raises(InvalidArgumentError, match=said) as caught:
        check_agreement(start, ours, (), lambda text: pytest.fail(text))
    fixes = str(caught.value).partition("add --set ")[2].partition(", or set")[0].split(" --set ")
    settings = {"model": {"model_config": ours}}
    apply_changes(settings, [parse_change(fix.strip("'")) for fix in fixes])
    check_agreement(start, settings["model"]["model_config"], (), lambda text: pytest.fail(text))


def test_the_same_model_agrees_whatever_the_way_of_writing_it(tmp_path: Path) -> None:
    check_agreement(start_of(tmp_path), model(n_kv_heads=2, theta=None, extend_method=None), (), pytest.fail)
    ntk = start_of(tmp_path, rope_theta=20000.0)
    check_agreement(ntk, model(extend_method="NTK", scaling_factor=2.0), (), pytest.fail)


def test_a_value_that_was_set_on_purpose_is_told_alone(tmp_path: Path) -> None:
    said: list[str] = []
    check_agreement(start_of(tmp_path), model(theta=1e6), ["model.model_config.theta"], said.append)
    assert len(said) == 1
    assert "theta is 1000000.0 as asked" in said[0]


def test_a_ckpt_is_compared_with_what_lies_beside_it(tmp_path: Path) -> None:
    tiny.write_ckpt(tmp_path / "x.ckpt", tiny.initial_weights())
    start = find_start(tmp_path / "x.ckpt", 0, False)
    said: list[str] = []
    check_agreement(start, model(), (), said.append)
    assert len(said) == 1
    assert "could not be compared" in said[0]
    settings = tiny.settings(Path("a"))
    settings["model"]["model_config"]["theta"] = 500000.0
    tiny.write_settings(tmp_path / "model.yaml", settings)
    with pytest.raises(InvalidArgumentError, match=r"theta 10000\.0 instead of 500000\.0 \(in .*model\.yaml\)"):
        check_agreement(start, model(), (), pytest.fail)


def test_ranks_are_told_what_was_set_on_purpose(tmp_path: Path) -> None:
    from skywork_rt.recipe.train.launched import launch_of
    from skywork_rt.recipe.train.plan import TrainOptions, make_plan

    for name in ("train.mindrecord", "train.mindrecord.db"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "start").mkdir()
    tiny.write_ckpt(tmp_path / "start" / "x.ckpt", tiny.initial_weights())
    (tmp_path / "start" / "config.json").write_text(json.dumps(CONFIG))
    tiny.write_settings(tmp_path / "tiny.yaml", tiny.settings(tmp_path / "train.mindrecord"))
    options = TrainOptions(
        changes=[("model.model_config.theta", 20000.0), ("seed", 5)],
        load_checkpoint=str(tmp_path / "start" / "x.ckpt"),
        output_dir=str(tmp_path / "out"),
    )
    plan = make_plan(str(tmp_path / "tiny.yaml"), options)
    assert len(plan.warnings) == 1
    command = launch_of(plan, no_progress).command
    assert [word for word in command if "=" in word] == ["model.model_config.theta=20000.0"]
