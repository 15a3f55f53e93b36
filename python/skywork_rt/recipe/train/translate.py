"""Names of MindFormers 1.0 that the installed release no longer has, and what stands for them today.

The table was made by comparing the configuration classes, callbacks, optimizers and schedules that run_*.yaml files
of the 1.0 releases name with the registry of 1.8.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skywork_rt.recipe.train.settings import Settings, at

__all__ = ["translate"]

Say = Callable[[str], None]

_OPTIMIZERS = {
    "FP32StateAdamWeightDecay": "AdamW",
    "FusedAdamWeightDecay": "AdamW",
    "FusedFP32StateAdamWeightDecay": "AdamW",
    "FusedCastAdamWeightDecay": "AdamW",
    "AdamWeightDecay": "AdamW",
}
_CALLBACKS = {"CheckpointMointor": "CheckpointMonitor"}
_REMOVED_CALLBACKS = ("ObsMonitor",)
_ARCHITECTURES = {"LlamaForCausalLMWithLora": "LlamaForCausalLM"}
# Keys of LlamaConfig that did something only in generating, or whose part of the graph is gone.
_REMOVED_MODEL_KEYS = (
    "compute_in_2d",
    "is_flexible_shape",
    "pretrain_seqlen",
    "use_kvcache_op",
    "use_paged_attention",
    "use_past_shard",
    "is_sample_acceleration",
    "parallel_decoding_params",
)


def translate(settings: Settings, warn: Say) -> None:
    """Renames in place what has another name today, and calls `warn` with a sentence for each."""
    _translate_optimizer(settings, warn)
    _translate_schedule(settings, warn)
    _translate_callbacks(settings, warn)
    _translate_model(settings, warn)


def _section(settings: Settings, path: str) -> Settings:
    found = at(settings, path)
    return found if isinstance(found, dict) else {}


def _rename_type(section: Settings, table: dict[str, str], where: str, warn: Say) -> bool:
    old = section.get("type")
    new = table.get(old) if isinstance(old, str) else None
    if new is None:
        return False
    section["type"] = new
    warn(f"{where}.type {old} is a name of MindFormers 1.0; {new} stands for it")
    return True


def _translate_optimizer(settings: Settings, warn: Say) -> None:
    optimizer = _section(settings, "optimizer")
    _rename_type(optimizer, _OPTIMIZERS, "optimizer", warn)
    if optimizer.get("type") == "AdamW" and ("beta1" in optimizer or "beta2" in optimizer):
        optimizer["betas"] = [optimizer.pop("beta1", 0.9), optimizer.pop("beta2", 0.999)]
        warn(f"optimizer.beta1 and beta2 are names of MindFormers 1.0; betas: {optimizer['betas']} stands for them")


def _translate_schedule(settings: Settings, warn: Say) -> None:
    """WarmUpDecayLR: linear warm-up, then a cosine or a polynomial of the first degree down to `end_learning_rate`."""
    schedule = _section(settings, "lr_schedule")
    if schedule.get("type") != "WarmUpDecayLR":
        return
    cosine = schedule.pop("use_cosine", True)
    renames = (("end_learning_rate", "lr_end"), ("decay_steps", "total_steps"))
    for old, new in renames:
        if old in schedule:
            schedule[new] = schedule.pop(old)
    schedule["type"] = "CosineWithWarmUpLR" if cosine else "PolynomialWithWarmUpLR"
    if not cosine:
        schedule.setdefault("power", 1.0)
    warn(f"lr_schedule.type WarmUpDecayLR is a name of MindFormers 1.0; {schedule['type']} stands for it")


def _translate_callbacks(settings: Settings, warn: Say) -> None:
    for list_name in ("callbacks", "eval_callbacks"):
        entries = settings.get(list_name)
        if not isinstance(entries, list):
            continue
        kept: list[Any] = []
        for index, entry in enumerate(entries):
            if isinstance(entry, dict) and entry.get("type") in _REMOVED_CALLBACKS:
                warn(f"{list_name}: {entry['type']} copied files to a cloud in MindFormers 1.0; it is left out")
                continue
            if isinstance(entry, dict):
                _rename_type(entry, _CALLBACKS, f"{list_name}.{index}", warn)
            kept.append(entry)
        settings[list_name] = kept


def _translate_model(settings: Settings, warn: Say) -> None:
    _rename_type(_section(settings, "model.arch"), _ARCHITECTURES, "model.arch", warn)
    config = _section(settings, "model.model_config")
    for key in _REMOVED_MODEL_KEYS:
        if key in config:
            del config[key]
            warn(f"model.model_config.{key} is a name of MindFormers 1.0 that training does not need; it is left out")
