"""A YAML is read, translated and checked before anything else happens."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import tiny_training as tiny

from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.recipe.configs import find_config, packaged_configs
from skywork_rt.recipe.train.limits import adapt_to_device, check_limits
from skywork_rt.recipe.train.model_shape import expected_tensors, lora_tensors, model_shape
from skywork_rt.recipe.train.nested_schema import check_tasks
from skywork_rt.recipe.train.schema import check_schema
from skywork_rt.recipe.train.settings import apply_changes, at, parse_change, read_settings
from skywork_rt.recipe.train.translate import translate


@pytest.fixture
def whole() -> dict[str, Any]:
    """A configuration without a fault."""
    return copy.deepcopy(tiny.settings(Path("a.mindrecord")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("nonsens=1", "nonsens"),
        ("run_mod=train", "did you mean 'run_mode'"),
        ("runner_config.epoch=1", "did you mean 'epochs'"),
        ("parallel_config.data_paralel=1", "did you mean 'data_parallel'"),
        ("parallel.gradient_mean=True", "did you mean 'gradients_mean'"),
        ("context.device_targt=CPU", "did you mean 'device_target'"),
        ("model.model_config.num_layer=2", "did you mean 'num_layers'"),
        ("model.model_config.pet_config={pet_type: lora, lora_ran: 4}", "did you mean 'lora_rank'"),
        ("model.arc.type=LlamaForCausalLM", "did you mean 'arch'"),
        ("optimizer.typ=AdamW", "did you mean 'type'"),
        ("optimizer.beta=1", "did you mean 'betas'"),
        ("optimizer.type=AdmW", "did you mean 'AdamW'"),
        ("lr_schedule.warmup_step=1", "did you mean 'warmup_steps'"),
        ("lr_schedule.type=CosinWithWarmUpLR", "did you mean 'CosineWithWarmUpLR'"),
        ("runner_wrapper.use_clip_gra=True", "did you mean 'use_clip_grad'"),
        ("runner_wrapper.scale_sense.scale_windo=1", "did you mean 'scale_window'"),
        ("train_dataset.input_column=[]", "did you mean 'input_columns'"),
        ("train_dataset.data_loader.shufle=True", "did you mean 'shuffle'"),
        ("callbacks.0.type=MFLosMonitor", "did you mean 'MFLossMonitor'"),
        ("callbacks.1.save_checkpoint_step=1", "did you mean 'save_checkpoint_steps'"),
        ("train_dataset_task={type: CausalLanguageModelDataset, dataset_config: {batch_siz: 1}}", "'batch_size'"),
        ("eval_dataset_task.dataset_config.data_loader.shufle=True", "did you mean 'shuffle'"),
        ("parallel.parallel_optimizer_config.optimizer_leve=level1", "did you mean 'optimizer_level'"),
        ("context.ascend_config.precision_mod=force_fp16", "did you mean 'precision_mode'"),
        ("context.ascend_config.precision_mode=force_fp61", "did you mean 'force_fp16'"),
        ("generation_config.top_kk=1", "did you mean 'top_k'"),
        ("model.generation_config.do_sampl=True", "did you mean 'do_sample'"),
        ("grouped_lr_schedule={defalt: {}}", "did you mean 'default'"),
        ("grouped_lr_schedule.default={type: ConstantWarmUpLR, warmup_step: 1}", "did you mean 'warmup_steps'"),
        (
            "grouped_lr_schedule={default: {type: ConstantWarmUpLR}, grouped: [{type: ConstantWarmUpLR, param: []}]}",
            "did you mean 'params'",
        ),
        ("processor.retur_tensors=ms", "did you mean 'return_tensors'"),
        ("processor.tokenizer.bos_tok=1", "did you mean 'bos_token'"),
        ("metric.type=PerplexityMetrik", "did you mean 'PerplexityMetric'"),
        ("metric={type: PerplexityMetric, nonsense: 1}", "nonsense"),
        ("model.model_config.extend_method=LLAMMA3", "did you mean 'LLAMA3'"),
        ("model.model_config.rotary_dtype=flot32", "did you mean 'float32'"),
        ("model.model_config.parallel_config.data_paralel=1", "did you mean 'data_parallel'"),
    ],
)
def test_unknown_keys_and_classes_are_refused_with_the_nearest(whole: dict[str, Any], change: str, said: str) -> None:
    check_schema(whole)
    apply_changes(whole, [parse_change(change)])
    with pytest.raises(InvalidArgumentError, match=said):
        check_schema(whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("runner_config.batch_size=four", "runner_config.batch_size is 'four'; it must be a whole number"),
        ("runner_config.batch_size=0", "at least 1"),
        ("runner_config.epochs=1.5", "whole number"),
        ("runner_config.sink_mode=1", "True or False"),
        ("optimizer.weight_decay=-0.1", "must not be negative"),
        ("lr_schedule.learning_rate=fast", "must be a number"),
        ("lr_schedule.learning_rate=.nan", "finite"),
        ("model.model_config.hidden_size=-32", "at least 1"),
        ("model.model_config.rms_norm_eps=0", "more than 0"),
        ("model.model_config.compute_dtype=32", "a text"),
        ("callbacks.1.save_checkpoint_steps=0", "at least 1"),
        ("runner_wrapper.scale_sense=-1", "above 0"),
        ("runner_config=3", "keys with values"),
        ("run_mode=trian", "one of train, finetune, eval"),
        ("model.model_config.compute_dtype=int8", "one of float16, float32, bfloat16"),
        ("optimizer.betas=[0.9]", "two numbers"),
        ("optimizer.betas=[a, b]", "two numbers"),
        ("optimizer.betas=[2, 3]", "two numbers from 0 to below 1"),
        ("context.max_device_memory=foo", "with GB, such as 58GB"),
        ("context.max_device_memory=0GB", "above 0"),
        ("context.mode=7", "one of 0, 1"),
        ("context.mode=True", "whole number|one of 0, 1"),
        ("model.model_config.scaling_factor={factor: 2}", "extend_method None takes a number"),
        ("model.model_config.scaling_factor=-1", "more than 0"),
    ],
)
def test_values_of_a_wrong_type_or_range_are_refused(whole: dict[str, Any], change: str, said: str) -> None:
    apply_changes(whole, [parse_change(change)])
    with pytest.raises(InvalidArgumentError, match=said):
        check_schema(whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("run_mode=predict", "skywork-rt generate"),
        ("run_mode=export", "skywork-rt export"),
        ("model.model_config.type=GPT2Config", "LlamaConfig"),
        ("model.model_config.pet_config={pet_type: prefixtuning}", "only lora"),
        ("train_dataset.data_loader.type=TFRecordDataset", "MindDataset"),
        ("model.model_config.quantization_config={quant_method: rtn}", "quantised weights are not trained"),
    ],
)
def test_what_training_here_does_not_do_is_said(whole: dict[str, Any], change: str, said: str) -> None:
    apply_changes(whole, [parse_change(change)])
    with pytest.raises(UnsupportedError, match=said):
        check_schema(whole)


def test_names_of_the_former_release_are_translated_with_a_warning(whole: dict[str, Any]) -> None:
    whole["optimizer"] = {"type": "FP32StateAdamWeightDecay", "beta1": 0.9, "beta2": 0.95, "eps": 1e-8}
    whole["lr_schedule"] = {"type": "WarmUpDecayLR", "learning_rate": 1e-3, "end_learning_rate": 1e-6, "decay_steps": 9}
    whole["callbacks"][1]["type"] = "CheckpointMointor"
    whole["callbacks"].append({"type": "ObsMonitor"})
    whole["model"]["model_config"] |= {"pretrain_seqlen": 4096, "compute_in_2d": True, "use_past_shard": False}
    warnings: list[str] = []
    translate(whole, warnings.append)
    check_schema(whole)
    assert whole["optimizer"] == {"type": "AdamW", "eps": 1e-8, "betas": [0.9, 0.95]}
    assert whole["lr_schedule"]["type"] == "CosineWithWarmUpLR"
    assert (whole["lr_schedule"]["lr_end"], whole["lr_schedule"]["total_steps"]) == (1e-6, 9)
    assert [entry["type"] for entry in whole["callbacks"]] == ["MFLossMonitor", "CheckpointMonitor"]
    assert len(warnings) == 8
    assert all("MindFormers 1.0" in warning for warning in warnings)


@pytest.mark.parametrize(
    "change",
    [
        "runner_config.sink_mode=True",
        "runner_config.gradient_accumulation_steps=2",
        "model.model_config.compute_dtype=bfloat16",
        "model.model_config.use_flash_attention=True",
        "parallel.parallel_mode=1",
        "parallel_config.model_parallel=2",
        "parallel_config.pipeline_stage=2",
        "parallel_config.optimizer_shard=True",
        "parallel.enable_parallel_optimizer=True",
    ],
)
def test_what_a_cpu_cannot_do_is_said_with_what_to_set(whole: dict[str, Any], change: str) -> None:
    whole["use_parallel"] = True
    check_limits(whole)
    apply_changes(whole, [parse_change(change)])
    key = change.partition("=")[0]
    with pytest.raises(UnsupportedError, match=f"a CPU cannot.*set {key}="):
        check_limits(whole)


def test_a_machine_without_ascend_is_told_how_to_train_on_cpu(whole: dict[str, Any]) -> None:
    if any(Path("/dev").glob("davinci*")):
        pytest.skip("this machine has an Ascend device")
    whole["context"]["device_target"] = "Ascend"
    with pytest.raises(UnsupportedError, match=r"--set context\.device_target=CPU"):
        check_limits(whole)


def test_on_cpu_only_what_mindformers_asks_of_an_npu_changes(whole: dict[str, Any]) -> None:
    del whole["model"]["model_config"]["fused_rms_norm"]
    adapt_to_device(whole)
    assert whole["runner_wrapper"]["type"] == "SkyworkRtCpuTrainOneStepCell"
    assert whole["model"]["model_config"]["fused_rms_norm"] is False
    other = tiny.settings(Path("a"))
    other["context"]["device_target"] = "Ascend"
    before = copy.deepcopy(other)
    adapt_to_device(other)
    assert other == before


def test_the_packaged_configuration_is_skywork_13b() -> None:
    settings = read_settings(find_config("run_skywork_13b"))
    assert "run_skywork_13b" in packaged_configs()
    warnings: list[str] = []
    translate(settings, warnings.append)
    check_schema(settings)
    assert not warnings
    model = model_shape(at(settings, "model.model_config"))
    assert model.parameter_count() == 13_854_113_280
    assert (model.vocab_size, model.layers, model.hidden_size, model.intermediate_size) == (65519, 52, 4608, 12288)
    assert at(settings, "optimizer.type") == "AdamW"
    assert at(settings, "lr_schedule.learning_rate") == 5e-6


def test_a_number_such_as_1e_5_is_a_number_and_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("optimizer: {eps: 1e-8}\nseed: 1\n")
    assert read_settings(path)["optimizer"]["eps"] == 1e-8
    assert parse_change("lr_schedule.learning_rate=5e-6") == ("lr_schedule.learning_rate", 5e-6)
    path.write_text("seed: 1\noutput_dir: x\nseed: 2\n")
    with pytest.raises(InvalidArgumentError, match=r"'seed' is there twice.*line 3"):
        read_settings(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "holds a list"),
        ("a: [1\n", "no valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "no valid YAML"),
    ],
)
def test_files_that_are_no_configuration_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match=said):
        read_settings(path)


@pytest.mark.parametrize("text", ["novalue", "=1", "a..b=1", "a=[1"])
def test_changes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="--set"):
        parse_change(text)


def test_lora_adds_two_matrices_to_each_layer_that_the_pattern_names(whole: dict[str, Any]) -> None:
    config = whole["model"]["model_config"]
    assert expected_tensors(config) == {name: value.shape for name, value in tiny.initial_weights().items()}
    config["pet_config"] = {"pet_type": "lora", "lora_rank": 4, "target_modules": ".*wq|.*w2"}
    added = lora_tensors(config)
    assert len(added) == 8
    assert added["model.layers.1.feed_forward.w2.mindpet_delta_lora_a"] == (4, 88)
    config["pet_config"]["target_modules"] = "wx"
    with pytest.raises(InvalidArgumentError, match="matches no layer"):
        lora_tensors(config)


@pytest.mark.parametrize(
    ("method", "factor", "said"),
    [
        ("LLAMA3", {"factor": 8.0, "low_freq": 1.0}, "did you mean 'low_freq_factor'"),
        ("LLAMA3", {"factor": 8.0}, "has no original_max_position_embeddings, low_freq_factor, high_freq_factor"),
        ("YARN", 4.0, "with extend_method YARN it must be"),
        ("NTK", {"factor": 8.0}, "extend_method NTK takes a number"),
    ],
)
def test_scaling_factors_are_those_of_the_method(whole: dict[str, Any], method: str, factor: Any, said: str) -> None:
    whole["model"]["model_config"] |= {"extend_method": method, "scaling_factor": factor}
    with pytest.raises(InvalidArgumentError, match=said):
        check_schema(whole)


def test_parts_that_are_right_are_taken(whole: dict[str, Any]) -> None:
    """As MindFormers' own YAML files write them."""
    for change in (
        "parallel.parallel_optimizer_config={gradient_accumulation_shard: False, parallel_optimizer_threshold: 64}",
        "context={mode: GRAPH_MODE, device_target: CPU, max_device_memory: 58.5GB, ascend_config: {precision_mode: "
        "must_keep_origin_dtype}}",
        "processor={return_tensors: ms, tokenizer: {unk_token: <unk>, bos_token: <s>, type: LlamaTokenizer, vocab_file"
        ": x}, type: LlamaProcessor}",
        "metric={type: PerplexityMetric}",
        "model.model_config.extend_method=PI",
        "model.model_config.scaling_factor=2.0",
    ):
        apply_changes(whole, [parse_change(change)])
    check_schema(whole)


def test_a_task_that_says_otherwise_than_the_data_set_is_refused(whole: dict[str, Any]) -> None:
    dataset = copy.deepcopy(whole["train_dataset"])
    whole["train_dataset_task"] = {"type": "CausalLanguageModelDataset", "dataset_config": dataset}
    check_tasks(whole, [])
    check_schema(whole)
    with pytest.raises(InvalidArgumentError, match=r"not read: set train_dataset\.repeat instead"):
        check_tasks(whole, ["train_dataset_task.dataset_config.repeat"])
    dataset["data_loader"]["shuffle"] = True
    with pytest.raises(InvalidArgumentError, match=r"data_loader\.shuffle is True, and train_dataset.*is False"):
        check_tasks(whole, [])
