"""Keys and values of the parts within parts of a YAML, which MindFormers and MindSpore take unread or read late.

Where the sources are classes their signatures are read; the other lists were made from MindSpore 2.7.2 (`context.py`,
`parallel/_auto_parallel_context.py`) and MindFormers 1.8.0 (`modules/layers.py`, `generation/generation_config.py`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.recipe.train.mindformers_source import Parameter, signature, template_sections
from skywork_rt.recipe.train.settings import Settings, at

__all__ = ["check_nested", "check_tasks", "refuse_value"]

Known = Mapping[str, Parameter]
CheckKeys = Callable[[str, str, Mapping[str, Any], Known], None]

_ANY = Parameter()
_TEXT, _FLAG, _WHOLE, _NUMBER = (Parameter((name,)) for name in ("str", "bool", "int", "float"))
_LIST, _KEYS = Parameter(("list",)), Parameter(("dict",))

_OPTIMIZER_SHARDS: Known = {
    "gradient_accumulation_shard": _FLAG,
    "parallel_optimizer_threshold": _WHOLE,
    "optimizer_weight_shard_size": _WHOLE,
    "optimizer_level": _TEXT,
}
_ASCEND: Known = {
    "precision_mode": _TEXT,
    "jit_compile": _FLAG,
    "atomic_clean_policy": _WHOLE,
    "matmul_allow_hf32": _FLAG,
    "conv_allow_hf32": _FLAG,
    "exception_dump": _TEXT,
    "op_precision_mode": _TEXT,
    "ge_options": _KEYS,
    "parallel_speed_up_json_path": _TEXT,
    "host_scheduling_max_threshold": _WHOLE,
    "cur_step_num": _WHOLE,
    "save_checkpoint_steps": _WHOLE,
    "need_ckpt": _FLAG,
    "last_triggered_step": _WHOLE,
    "hccl_watchdog": _FLAG,
    "topo_order": _KEYS,
    "op_debug_option": _TEXT,
}
_PRECISION_MODES = (
    "force_fp16",
    "allow_fp32_to_fp16",
    "allow_mix_precision",
    "must_keep_origin_dtype",
    "force_fp32",
    "allow_fp32_to_bf16",
    "allow_mix_precision_fp16",
    "allow_mix_precision_bf16",
)
_GENERATION: Known = dict.fromkeys(
    (
        "max_length",
        "max_decode_length",
        "max_new_tokens",
        "min_length",
        "min_new_tokens",
        "num_beams",
        "do_sample",
        "use_past",
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "encoder_repetition_penalty",
        "renormalize_logits",
        "return_dict_in_generate",
        "output_scores",
        "output_logits",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "parallel_decoding",
        "window_size",
        "level",
        "guess_set_size",
        "type",
    ),
    _ANY,
)
_PROCESSOR: Known = dict.fromkeys(("type", "return_tensors", "tokenizer", "max_length", "padding"), _ANY)
_TOKENIZER: Known = dict.fromkeys(
    (
        "type",
        "vocab_file",
        "tokenizer_file",
        "merges_file",
        "unk_token",
        "bos_token",
        "eos_token",
        "pad_token",
        "add_bos_token",
        "add_eos_token",
        "add_prefix_space",
        "clean_up_tokenization_spaces",
        "sp_model_kwargs",
        "legacy",
        "use_fast",
        "use_default_system_prompt",
        "model_max_length",
        "max_length",
        "padding_side",
        "truncation_side",
        "auto_register",
        "trust_remote_code",
        "checkpoint_name_or_path",
    ),
    _ANY,
)
_METRICS = ("PerplexityMetric", "ADGENMetric", "EntityScore", "PromptAccMetric", "EmF1Metric")
_SCALINGS: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "LLAMA3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "YARN": ("factor", "original_max_position_embeddings", "beta_slow", "beta_fast", "mscale", "mscale_all_dim"),
}
_METHODS = ("None", "PI", "NTK", "DYNAMIC_NTK", *_SCALINGS)
_FLOATS = ("float16", "float32", "bfloat16")
_TYPE_KEYS = (
    "compute_dtype",
    "param_init_type",
    "embedding_init_type",
    "layernorm_compute_type",
    "softmax_compute_type",
    "rotary_dtype",
    "residual_dtype",
)
_MEMORY = re.compile(r"[1-9][0-9]*(\.[0-9]+)?GB|0\.[0-9]*[1-9][0-9]*GB")


def refuse_value(where: str, value: object, known: Sequence[object]) -> None:
    """Raises InvalidArgumentError for what is none of `known`, with the nearest of them."""
    if value in known and not isinstance(value, bool):
        return
    near = difflib.get_close_matches(str(value), [str(one) for one in known], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InvalidArgumentError(f"{where} is {value!r}; {hint}it must be one of {', '.join(map(str, known))}")


def check_nested(settings: Settings, check_keys: CheckKeys, schedule_keys: Callable[[str], Known]) -> None:
    """Raises InvalidArgumentError that names the path of the first wrong key or value; UnsupportedError for quantised
    weights. `check_keys` is that of the schema, `schedule_keys` the keys of an lr_schedule's class."""
    _section(settings, "parallel.parallel_optimizer_config", _OPTIMIZER_SHARDS, check_keys)
    _section(settings, "context.ascend_config", _ASCEND, check_keys)
    for place in ("generation_config", "model.generation_config"):
        _section(settings, place, _GENERATION, check_keys)
    _section(settings, "processor", _PROCESSOR, check_keys)
    for place in ("processor", "train_dataset", "eval_dataset"):
        _section(settings, f"{place}.tokenizer", _TOKENIZER, check_keys)
    _check_metric(settings.get("metric"), check_keys)
    _check_grouped_schedule(settings, check_keys, schedule_keys)
    _check_model_values(settings, check_keys)
    _check_context_values(settings)
    _check_betas(at(settings, "optimizer.betas"))


def _section(settings: Settings, place: str, known: Known, check_keys: CheckKeys) -> None:
    section = at(settings, place)
    if section is None:
        return
    if not isinstance(section, dict):
        raise InvalidArgumentError(f"{place} is {section!r}; it must be keys with values")
    check_keys(place, f"{place}.", section, known)


def _check_metric(metric: Any, check_keys: CheckKeys) -> None:
    entries = metric if isinstance(metric, list) else [] if metric is None else [metric]
    for entry in entries:
        if not isinstance(entry, dict):
            raise InvalidArgumentError(f"metric is {entry!r}; it must be keys with values, type among them")
        refuse_value("metric.type", entry.get("type"), _METRICS)
        keys = signature("mindformers", "core/metric/metric.py", entry["type"]) or {}
        check_keys(f"metric {entry['type']}", "metric.", entry, {"type": _TEXT, **keys})


def _check_grouped_schedule(settings: Settings, check_keys: CheckKeys, schedule_keys: Callable[[str], Known]) -> None:
    grouped = settings.get("grouped_lr_schedule")
    if not isinstance(grouped, dict):
        return
    name = "grouped_lr_schedule"
    check_keys(name, f"{name}.", grouped, {"default": _KEYS, "grouped": _LIST})
    places = [(f"{name}.default", grouped.get("default"))]
    places += [(f"{name}.grouped.{index}", entry) for index, entry in enumerate(grouped.get("grouped") or [])]
    for place, entry in places:
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            raise InvalidArgumentError(f"{place} has no type, the name of its class in MindFormers")
        params: Known = {"params": _LIST} if ".grouped." in place else {}
        check_keys(place, f"{place}.", entry, {"type": _TEXT, **schedule_keys(entry["type"]), **params})


def _check_model_values(settings: Settings, check_keys: CheckKeys) -> None:
    config: Settings = at(settings, "model.model_config", {})
    prefix = "model.model_config."
    for key in _TYPE_KEYS:
        if config.get(key) is not None:
            refuse_value(prefix + key, config[key], _FLOATS)
    if config.get("quantization_config"):
        raise UnsupportedError(
            f"{prefix}quantization_config is set; quantised weights are not trained: leave it out, and quantise when "
            "exporting (skywork-rt export --quantize)"
        )
    sections = template_sections()
    for key in ("parallel_config", "moe_config"):
        _section(settings, prefix + key, sections.get(key, {}), check_keys)
    _check_scaling(config.get("extend_method"), config.get("scaling_factor"), check_keys)


def _check_scaling(method: Any, factor: Any, check_keys: CheckKeys) -> None:
    where = "model.model_config.scaling_factor"
    kind = "None" if method is None else method
    refuse_value("model.model_config.extend_method", kind, _METHODS)
    if kind not in _SCALINGS:
        if isinstance(factor, dict):
            raise InvalidArgumentError(
                f"{where} has keys, and extend_method {kind} takes a number; set extend_method to one of "
                f"{', '.join(_SCALINGS)}"
            )
        if isinstance(factor, int | float) and factor <= 0:
            raise InvalidArgumentError(f"{where} is {factor}; it must be more than 0")
        return
    if not isinstance(factor, dict):
        raise InvalidArgumentError(
            f"{where} is {factor!r}; with extend_method {kind} it must be {{{', '.join(_SCALINGS[kind])}}}"
        )
    check_keys(where, f"{where}.", factor, dict.fromkeys(_SCALINGS[kind], _NUMBER))
    missing = [key for key in _SCALINGS[kind] if factor.get(key) is None]
    if missing:
        raise InvalidArgumentError(f"{where} has no {', '.join(missing)}, which extend_method {kind} needs")


def _check_context_values(settings: Settings) -> None:
    mode = at(settings, "context.mode")
    if mode is not None:
        refuse_value("context.mode", mode, (0, 1, "GRAPH_MODE", "PYNATIVE_MODE"))
    memory = at(settings, "context.max_device_memory")
    if memory is not None and not _MEMORY.fullmatch(str(memory)):
        raise InvalidArgumentError(
            f"context.max_device_memory is {memory!r}; it must be a number above 0 with GB, such as 58GB"
        )
    precision = at(settings, "context.ascend_config.precision_mode")
    if precision is not None:
        refuse_value("context.ascend_config.precision_mode", precision, _PRECISION_MODES)


def _check_betas(betas: Any) -> None:
    """Two decay rates; a third one is of optimizers that have more moments (Came)."""
    if betas is None:
        return
    fit = isinstance(betas, list) and len(betas) in (2, 3)
    if not fit or any(isinstance(one, bool) or not isinstance(one, int | float) or not 0 <= one < 1 for one in betas):
        raise InvalidArgumentError(
            f"optimizer.betas is {betas!r}; must be two numbers from 0 to below 1, as [0.9, 0.999]"
        )


def check_tasks(settings: Settings, changed: Iterable[str]) -> None:
    """Training reads train_dataset and eval_dataset; their _task repeats them, most often as an alias of the YAML.

    Called before the command line's changes, the paths `changed`, are made. Raises InvalidArgumentError for what a
    _task says otherwise, which else would be thrown away without a word.
    """
    for section in ("train_dataset", "eval_dataset"):
        place = f"{section}_task.dataset_config"
        for path in changed:
            if path.startswith(f"{section}_task.dataset_config"):
                key = path.removeprefix(place).lstrip(".")
                raise InvalidArgumentError(f"{path} is not read: set {section}.{key or 'data_loader'} instead")
        repeated = at(settings, place)
        if isinstance(repeated, dict):
            _refuse_difference(place, repeated, section, settings.get(section))


def _refuse_difference(place: str, repeated: Mapping[str, Any], section: str, read: Any) -> None:
    for key, value in repeated.items():
        other = read.get(key) if isinstance(read, dict) else None
        if isinstance(value, dict) and isinstance(other, dict):
            _refuse_difference(f"{place}.{key}", value, f"{section}.{key}", other)
        elif value != other:
            raise InvalidArgumentError(
                f"{place}.{key} is {value!r}, and {section}.{key} is {other!r}; training reads {section} alone: say it "
                f"there, and make dataset_config an alias of it or leave it out"
            )
