"""What the device of a training cannot do, said before anything is imported, compiled or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.recipe.train.settings import Settings, at, put

__all__ = ["adapt_to_device", "check_limits", "device_target", "parallel_mode"]

_MODES = ("data_parallel", "semi_auto_parallel", "auto_parallel", "hybrid_parallel")
_TYPES = ("compute_dtype", "param_init_type", "layernorm_compute_type", "softmax_compute_type", "rotary_dtype")
_DEVICES = Path("/dev")


def device_target(settings: Settings) -> str:
    """`context.device_target`; MindFormers' default is Ascend."""
    return str(at(settings, "context.device_target", "Ascend"))


def parallel_mode(settings: Settings) -> str:
    """data_parallel … by name, stand_alone without `use_parallel`."""
    if not settings.get("use_parallel"):
        return "stand_alone"
    mode = at(settings, "parallel.parallel_mode", 1)
    if isinstance(mode, int) and 0 <= mode < len(_MODES):
        return _MODES[mode]
    if mode in (*_MODES, "stand_alone"):
        return str(mode)
    raise InvalidArgumentError(
        f"parallel.parallel_mode is {mode!r}; it must be 0 (data_parallel), 1 (semi_auto_parallel), 2 (auto_parallel) "
        "or 3 (hybrid_parallel)"
    )


def check_limits(settings: Settings) -> None:
    """Raises UnsupportedError that names all that the device cannot do, each with what to set instead."""
    target = device_target(settings)
    if target not in ("CPU", "Ascend", "GPU"):
        raise InvalidArgumentError(f"context.device_target is {target!r}; it must be Ascend or CPU")
    if target == "GPU":
        raise UnsupportedError("context.device_target is GPU; MindSpore 2.7 has no GPU kernels: set Ascend or CPU")
    mode = parallel_mode(settings)
    if target == "Ascend":
        if not _has_ascend():
            raise UnsupportedError(
                "context.device_target is Ascend, and this machine has no Ascend device (/dev/davinci…); to train on "
                "the processor add --set context.device_target=CPU"
            )
        return
    problems = [*_cpu_problems(settings), *(_cpu_parallel_problems(settings, mode) if mode != "stand_alone" else ())]
    if problems:
        listed = "; ".join(f"{what}: set {fix}" for what, fix in problems)
        raise UnsupportedError(
            f"a CPU cannot do what this configuration asks for: {listed} (on the command line: --set)"
        )


def _has_ascend() -> bool:
    return any(_DEVICES.glob("davinci[0-9]*")) or (_DEVICES / "davinci_manager").exists()


def _cpu_problems(settings: Settings) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    if at(settings, "runner_config.sink_mode") is True:
        problems.append(("data sink", "runner_config.sink_mode=False"))
    if at(settings, "runner_config.gradient_accumulation_steps", 1) > 1:
        problems.append(("gradient accumulation", "runner_config.gradient_accumulation_steps=1"))
    model: dict[str, Any] = at(settings, "model.model_config", {})
    problems += [
        ("bfloat16", f"model.model_config.{key}=float32 or float16") for key in _TYPES if model.get(key) == "bfloat16"
    ]
    for key in ("use_flash_attention", "use_ring_attention", "fused_rms_norm"):
        if model.get(key) is True:
            problems.append((f"the fused operation of {key}", f"model.model_config.{key}=False"))
    optimizer: dict[str, Any] = at(settings, "optimizer", {})
    if str(optimizer.get("type")).startswith("Fused") or optimizer.get("use_fused"):
        problems.append(("a fused optimizer", "optimizer.type=AdamW and optimizer.use_fused=False"))
    if optimizer.get("swap") or at(settings, "swap_config.swap") is True:
        problems.append(("swapping memory to the host", "swap_config.swap=False and optimizer.swap=False"))
    return problems


def _cpu_parallel_problems(settings: Settings, mode: str) -> list[tuple[str, str]]:
    problems: list[tuple[str, str]] = []
    if mode != "data_parallel":
        problems.append(
            (
                f"parallel mode {mode}",
                "parallel.parallel_mode=0, parallel.gradients_mean=True and parallel.full_batch=False",
            )
        )
    for key, name in (
        ("model_parallel", "tensor parallelism"),
        ("pipeline_stage", "pipeline parallelism"),
        ("context_parallel", "context parallelism"),
        ("expert_parallel", "expert parallelism"),
    ):
        if at(settings, f"parallel_config.{key}", 1) > 1:
            problems.append((name, f"parallel_config.{key}=1"))
    if at(settings, "parallel_config.optimizer_shard") is True:
        problems.append(("an optimizer in shards", "parallel_config.optimizer_shard=False"))
    if at(settings, "parallel.enable_parallel_optimizer") is True:
        problems.append(("an optimizer in shards", "parallel.enable_parallel_optimizer=False"))
    return problems


def adapt_to_device(settings: Settings) -> None:
    """On CPU: the step cell of ours for MindFormers', and what MindFormers' own defaults ask of an NPU turned off where
    the configuration does not mention it. On Ascend nothing changes."""
    if device_target(settings) != "CPU":
        return
    put(settings, "runner_config.sink_mode", False)
    for key in ("use_flash_attention", "fused_rms_norm"):
        if at(settings, f"model.model_config.{key}") is None:
            put(settings, f"model.model_config.{key}", False)
    wrapper = settings.get("runner_wrapper")
    if not isinstance(wrapper, dict):
        wrapper = settings["runner_wrapper"] = {
            "scale_sense": {
                "type": "DynamicLossScaleUpdateCell",
                "loss_scale_value": 65536,
                "scale_factor": 2,
                "scale_window": 1000,
            },
            "use_clip_grad": True,
        }
    wrapper["type"] = "SkyworkRtCpuTrainOneStepCell"
