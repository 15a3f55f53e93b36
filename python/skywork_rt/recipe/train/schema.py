"""The keys that a YAML may have, with their types and ranges.

MindFormers itself accepts unknown keys in many places (in `model_config` all of them), so that a typing mistake trains
another model than the one that was meant. Where the installed release lists its keys they are read from it, elsewhere
the lists are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.recipe.train.mindformers_source import Parameter, checked_types, signature, template_sections
from skywork_rt.recipe.train.nested_schema import check_nested
from skywork_rt.recipe.train.settings import Settings, at
from skywork_rt.recipe.train.value_check import check_range, check_type
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["RUN_MODES", "check_schema"]

Known = Mapping[str, Parameter]

RUN_MODES = ("train", "finetune", "eval")
_LATER_MODES = {
    "predict": "'skywork-rt generate' generates text from a bundle, which 'skywork-rt export' makes of a checkpoint",
    "predict_with_train_model": "'skywork-rt generate' generates text from a bundle",
    "export": "'skywork-rt export CHECKPOINT OUT' makes a bundle",
}

_ANY = Parameter()
_TEXT, _FLAG, _WHOLE, _NUMBER = (Parameter((name,)) for name in ("str", "bool", "int", "float"))
_LIST, _KEYS = Parameter(("list",)), Parameter(("dict",))

# What MindFormers reads at the top level beside its template's own keys.
_TOP: Known = {
    "eval_dataset": _KEYS,
    "eval_dataset_task": _KEYS,
    "processor": _ANY,
    "metric": _ANY,
    "tensorboard": _KEYS,
    "grouped_lr_schedule": _KEYS,
    "remove_redundancy": _FLAG,
    "calculate_per_token_loss": _FLAG,
    "check_for_nan_in_loss_and_grad": _FLAG,
    "use_skip_data_by_global_norm": _FLAG,
    "use_checkpoint_health_monitor": _FLAG,
    "use_graceful_exit": _FLAG,
    "resume_by_last_timestamp_ckpt": _FLAG,
    "transform_by_rank": _FLAG,
    "npu_num_per_node": _WHOLE,
    "mindio_pool_capacity": _WHOLE,
    "auto_tune": _FLAG,
    "filepath_prefix": _TEXT,
    "autotune_per_step": _WHOLE,
    "profile_output": _TEXT,
    "profiler_level": _ANY,
    "with_stack": _FLAG,
    "data_simplification": _FLAG,
    "trust_remote_code": _FLAG,
    "generation_config": _KEYS,
}
_CONTEXT: Known = {
    "mode": Parameter(("int", "str")),
    "affinity_cpu_list": _ANY,
    "affinity_config": _KEYS,
    "monitor_local_loss": _FLAG,
    "monitor_device_local_loss": _FLAG,
    "enable_dump": _FLAG,
    "save_dump_path": _TEXT,
    "infer_boost": _TEXT,
    "jit_level": _TEXT,
    "use_graceful_exit": _FLAG,
    "exclude_cann_cpu": _FLAG,
    "train_precision_sync": _FLAG,
    "infer_precision_sync": _FLAG,
    "memory_optimize_level": _TEXT,
    "max_device_memory": _TEXT,
}
_PARALLEL: Known = {
    "parallel_mode": Parameter(("int", "str")),
    "dataset_strategy": Parameter(("str", "list")),
    "auto_pipeline": _FLAG,
    "loss_repeated_mean": _FLAG,
}
_DATASET: Known = {
    "data_loader": _KEYS,
    "input_columns": _LIST,
    "output_columns": _LIST,
    "construct_args_key": _LIST,
    "num_parallel_workers": _WHOLE,
    "python_multiprocessing": _FLAG,
    "drop_remainder": _FLAG,
    "batch_size": _WHOLE,
    "repeat": _WHOLE,
    "numa_enable": _FLAG,
    "prefetch_size": _WHOLE,
    "seed": _WHOLE,
    "eod_reset": _FLAG,
    "eod_token_id": _WHOLE,
    "auto_tune": _FLAG,
    "filepath_prefix": _TEXT,
    "autotune_per_step": _WHOLE,
    "profile": _FLAG,
    "do_eval": _FLAG,
    "tokenizer": _KEYS,
    "max_length": _WHOLE,
    "dynamic_batch": _FLAG,
    "divisor": _WHOLE,
    "remainder": _WHOLE,
    "token_monitor": _FLAG,
    "token_monitor_config": _KEYS,
}
_DATA_LOADER: Known = {
    "type": _TEXT,
    "dataset_dir": _TEXT,
    "dataset_files": Parameter(("str", "list")),
    "shuffle": Parameter(("bool", "str")),
    "num_samples": _WHOLE,
    "num_padded": _WHOLE,
    "num_parallel_workers": _WHOLE,
    "cache": _ANY,
}
_DATASET_TASK: Known = {"type": _TEXT, "dataset_config": _KEYS}
_MODEL: Known = {"model_config": _KEYS, "arch": _KEYS, "pretrained_model_dir": _TEXT, "generation_config": _KEYS}
_MODEL_CONFIG: Known = {
    "type": _TEXT,
    "pet_config": _KEYS,
    "auto_map": _KEYS,
    "architectures": _ANY,
    "quantization_config": _ANY,
    "disable_lazy_inline": _FLAG,
    "track_max_attention_logit": _FLAG,
    "max_new_tokens": _WHOLE,
    "model_type": _TEXT,
    "n_kv_heads": _WHOLE,
    "theta": _NUMBER,
    "ffn_dim_multiplier": _NUMBER,
    "scaling_factor": Parameter(("float", "dict")),
}
_TRAINER: Known = {"type": _TEXT, "model_name": _TEXT, "task_name": _TEXT}
_TENSORBOARD: Known = {
    "tensorboard_dir": _TEXT,
    "tensorboard_queue_size": _WHOLE,
    "log_loss_scale_to_tensorboard": _FLAG,
    "log_timers_to_tensorboard": _FLAG,
    "log_expert_load_to_tensorboard": _FLAG,
}
_LORA: Known = {"pet_type": _TEXT}
_SCALE: dict[str, Known] = {
    "DynamicLossScaleUpdateCell": {"loss_scale_value": _NUMBER, "scale_factor": _WHOLE, "scale_window": _WHOLE},
    "FixedLossScaleUpdateCell": {"loss_scale_value": _NUMBER},
    "AdaptiveLossScaleUpdateCell": {
        "loss_scale_value": _NUMBER,
        "scale_factor": _WHOLE,
        "scale_window": _WHOLE,
        "max_scale_window": _WHOLE,
        "min_scale_window": _WHOLE,
    },
}
_OPTIMIZER_MODULES = {
    "AdamW": "core/optim/adamw.py",
    "FusedAdamW": "core/optim/fused_adamw.py",
    "PmaAdamW": "core/optim/pma_adamw.py",
    "FusedPmaAdamW": "core/optim/fused_pma_adamw.py",
    "Came": "core/optim/came.py",
    "Muon": "core/optim/muon.py",
}
_SCHEDULES = "core/lr/lr_schedule.py"
_SCHEDULE_EXTRA: Known = {
    "warmup_epochs": _WHOLE,
    "warmup_ratio": _NUMBER,
    "warmup_steps": _WHOLE,
    "warmup_lr_init": _NUMBER,
    "total_steps": _WHOLE,
}
_CALLBACKS = "core/callback/callback.py"
_CELLS = ("MFTrainOneStepCell", "MFPipelineWithLossScaleCell", "SkyworkRtCpuTrainOneStepCell")


def check_schema(settings: Settings) -> None:
    """Raises InvalidArgumentError for the first key that nobody reads or value of a wrong type or range, named by its
    path in the file; UnsupportedError for models and run modes that training here does not do."""
    sections = template_sections()
    _check_top(settings, sections)
    for name in ("runner_config", "parallel_config", "recompute_config", "swap_config", "moe_config", "monitor_config"):
        _check_section(settings, name, sections.get(name, {}))
    context = {**checked_types("mindspore", "context.py", "set_context"), **_CONTEXT}
    parallel = {**checked_types("mindspore", "context.py", "set_auto_parallel_context"), **_PARALLEL}
    _check_section(settings, "context", context)
    _check_section(settings, "parallel", parallel)
    _check_section(settings, "trainer", _TRAINER)
    _check_section(settings, "tensorboard", _TENSORBOARD)
    _check_datasets(settings)
    _check_model(settings)
    _check_by_type(settings, "optimizer", _optimizer_keys)
    _check_by_type(settings, "lr_schedule", _schedule_keys)
    _check_wrapper(settings)
    _check_callbacks(settings)
    check_nested(settings, _check_keys, _schedule_keys)


def _check_top(settings: Settings, sections: Mapping[str, Known]) -> None:
    top: dict[str, Parameter] = {**sections.get("general_config", {}), **_TOP}
    for name in sections:
        if name != "general_config":
            top.setdefault(name, _ANY)
    top |= {"resume_training": Parameter(("bool", "str")), "run_mode": _TEXT, "load_checkpoint": _TEXT}
    _check_keys("the configuration", "", settings, top)
    mode = settings.get("run_mode", "train")
    if mode in _LATER_MODES:
        raise UnsupportedError(f"run_mode {mode} is not training: {_LATER_MODES[mode]}")
    if mode not in RUN_MODES:
        raise InvalidArgumentError(f"run_mode is {mode!r}; it must be one of {', '.join(RUN_MODES)}")


def _check_section(settings: Settings, name: str, known: Known) -> None:
    section = settings.get(name)
    if section is None:
        return
    if not isinstance(section, dict):
        raise InvalidArgumentError(f"{name} is {section!r}; it must be keys with values")
    _check_keys(name, f"{name}.", section, known)


def _check_keys(owner: str, prefix: str, section: Mapping[str, Any], known: Known) -> None:
    refuse_unknown(owner, [str(key) for key in section], known)
    for key, value in section.items():
        check_type(prefix + key, value, known[key])
        check_range(prefix + key, key, value)


def _check_datasets(settings: Settings) -> None:
    for name in ("train_dataset", "eval_dataset"):
        _check_section(settings, name, _DATASET)
        loader = at(settings, f"{name}.data_loader")
        if loader is None:
            continue
        if loader.get("type", "MindDataset") != "MindDataset":
            raise UnsupportedError(
                f"{name}.data_loader.type is {loader['type']}; training reads MindDataset, which 'skywork-rt prepare' "
                "writes"
            )
        _check_keys(f"{name}.data_loader", f"{name}.data_loader.", loader, _DATA_LOADER)
    for name in ("train_dataset_task", "eval_dataset_task"):
        _check_section(settings, name, _DATASET_TASK)
        config = at(settings, f"{name}.dataset_config", {})
        _check_keys(f"{name}.dataset_config", f"{name}.dataset_config.", config, _DATASET)
        loader = at(config, "data_loader", {})
        _check_keys(f"{name}.dataset_config.data_loader", f"{name}.dataset_config.data_loader.", loader, _DATA_LOADER)
        kind = at(settings, f"{name}.type", "CausalLanguageModelDataset")
        if kind != "CausalLanguageModelDataset":
            raise UnsupportedError(f"{name}.type is {kind}; training a language model needs CausalLanguageModelDataset")


def _check_model(settings: Settings) -> None:
    _check_section(settings, "model", _MODEL)
    config = at(settings, "model.model_config")
    if config is None:
        raise InvalidArgumentError("the configuration has no model.model_config, which describes the model")
    kind, arch = config.get("type", "LlamaConfig"), at(settings, "model.arch.type", "LlamaForCausalLM")
    if (kind, arch) != ("LlamaConfig", "LlamaForCausalLM"):
        raise UnsupportedError(
            f"the model is {kind} with {arch}; training here is for LlamaConfig with LlamaForCausalLM"
        )
    _check_keys("model.arch", "model.arch.", at(settings, "model.arch", {}), {"type": _TEXT})
    known = {**(signature("mindformers", "models/llama/llama_config.py", "LlamaConfig") or {}), **_MODEL_CONFIG}
    _check_keys("model.model_config", "model.model_config.", config, known)
    _check_lora(config.get("pet_config"))


def _check_lora(pet: Settings | None) -> None:
    if pet is None:
        return
    kind = pet.get("pet_type")
    if kind != "lora":
        raise UnsupportedError(f"model.model_config.pet_config.pet_type is {kind!r}; only lora is trained here")
    known = {**(signature("mindformers", "pet/pet_config.py", "LoraConfig") or {}), **_LORA}
    _check_keys("model.model_config.pet_config", "model.model_config.pet_config.", pet, known)
    if not pet.get("target_modules"):
        raise InvalidArgumentError(
            "model.model_config.pet_config has no target_modules, the pattern of the layers that get LoRA, such as "
            "'.*wq|.*wk|.*wv|.*wo'"
        )


def _check_by_type(settings: Settings, name: str, keys_of: Callable[[str], Known]) -> None:
    section = settings.get(name)
    if section is None:
        return
    if not isinstance(section, dict) or not isinstance(section.get("type"), str):
        raise InvalidArgumentError(f"{name} has no type, the name of its class in MindFormers")
    _check_keys(f"{name} {section['type']}", f"{name}.", section, {"type": _TEXT, **keys_of(section["type"])})


def _optimizer_keys(kind: str) -> Known:
    _require_known("optimizer.type", kind, _OPTIMIZER_MODULES)
    keys = dict(signature("mindformers", _OPTIMIZER_MODULES[kind], kind) or {})
    if kind == "AdamW":  # MindFormers' name is a factory that also makes the fused one
        keys |= {"use_fused": _FLAG, "amsgrad": _FLAG, "maximize": _FLAG}
    return {**keys, "learning_rate": _NUMBER, "betas": _LIST}


def _schedule_keys(kind: str) -> Known:
    found = signature("mindformers", _SCHEDULES, kind)
    if found is None:
        names = [name for name in _SCHEDULE_NAMES if signature("mindformers", _SCHEDULES, name) is not None]
        _require_known("lr_schedule.type", kind, names)
    return {**(found or {}), **_SCHEDULE_EXTRA}


_SCHEDULE_NAMES = (
    "ConstantWarmUpLR",
    "ConstantWithCoolDownLR",
    "LinearWithWarmUpLR",
    "CosineWithWarmUpLR",
    "CosineWithRestartsAndWarmUpLR",
    "PolynomialWithWarmUpLR",
    "WarmUpStableDecayLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
)


def _require_known(where: str, kind: str, names: Iterable[str]) -> None:
    try:
        refuse_unknown(where, [kind], names)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(str(error).replace("has no option", "has no class")) from None


def _check_wrapper(settings: Settings) -> None:
    wrapper = settings.get("runner_wrapper")
    if wrapper is None:
        return
    kind = wrapper.get("type", "MFTrainOneStepCell") if isinstance(wrapper, dict) else wrapper
    _require_known("runner_wrapper.type", str(kind), _CELLS)
    own = str(kind).replace("SkyworkRtCpuTrainOneStepCell", "MFTrainOneStepCell")
    keys = {**(signature("mindformers", "wrapper/wrapper.py", own) or {}), "type": _TEXT, "scale_sense": _ANY}
    _check_keys("runner_wrapper", "runner_wrapper.", wrapper, keys)
    scale = wrapper.get("scale_sense")
    if isinstance(scale, dict):
        _require_known("runner_wrapper.scale_sense.type", str(scale.get("type")), _SCALE)
        known = {"type": _TEXT, **_SCALE[scale["type"]]}
        _check_keys("runner_wrapper.scale_sense", "runner_wrapper.scale_sense.", scale, known)
    elif scale is not None and (isinstance(scale, bool) or not isinstance(scale, int | float) or scale <= 0):
        raise InvalidArgumentError(f"runner_wrapper.scale_sense is {scale!r}; it must be a number above 0, or a class")


_CALLBACK_NAMES = (
    "MFLossMonitor",
    "CheckpointMonitor",
    "ProfileMonitor",
    "TrainingStateMonitor",
    "TrainCallBack",
    "StressDetectCallBack",
    "SDCMonitor",
)


def _check_callbacks(settings: Settings) -> None:
    for name in ("callbacks", "eval_callbacks"):
        entries = settings.get(name)
        if entries is None:
            continue
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InvalidArgumentError(f"{name} must be a list of classes with their keys")
        for index, entry in enumerate(entries):
            kind = str(entry.get("type"))
            _require_known(f"{name}.{index}.type", kind, _CALLBACK_NAMES)
            keys = {"type": _TEXT, **(signature("mindformers", _CALLBACKS, kind) or {})}
            _check_keys(f"{name}.{index} {kind}", f"{name}.{index}.", entry, keys)
