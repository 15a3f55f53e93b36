"""InferConfig: which graphs, and how they were to be run."""

from __future__ import annotations

from typing import Any

from skywork_rt.compat.mindformers.tools.register.config import DictConfig
from skywork_rt.compat.notices import ignored
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["InferConfig"]

_OWNER = "InferConfig"
_TARGETS = ("Ascend", "CPU", "GPU")
_MODEL_TYPES = ("mindir", "mindir_lite")
_HERE = "graphs run on this machine's processor"


class InferConfig(DictConfig):
    """What InferTask opens.

    prefill_model_path: the graph that reads prompts, with `model.json` beside it (`skywork-rt export --layout
    mindformers`); or a .ckpt, which is exported into the cache once; or a bundle. increment_model_path: the graph of
    single tokens; without it the full graph does every step. infer_seq_length: longest prompt + output.

    target, device_id, rank_id, ge_config_path, dynamic and paged_attention concern Ascend, and warn once where they say
    something; `add_special_tokens`, which the recipe gives here, did nothing in MindFormers. Other names raise
    InvalidArgumentError.
    """

    def __init__(
        self,
        prefill_model_path: str = "",
        increment_model_path: str = "",
        model_type: str = "mindir",
        model_name: str = "common",
        infer_seq_length: int = 1024,
        target: str = "Ascend",
        device_id: int = 0,
        rank_id: int = 0,
        ge_config_path: str | list[str] = "",
        dynamic: bool = False,
        paged_attention: bool = False,
        pa_block_size: int = 16,
        pa_num_blocks: int = 512,
        **kwargs: Any,
    ) -> None:
        parameters = ["add_special_tokens", *_PARAMETERS]
        refuse_unknown(_OWNER, kwargs, parameters)
        if "add_special_tokens" in kwargs:
            ignored(_OWNER, "add_special_tokens", "it had none in MindFormers either; infer() takes it")
        _check("model_type", model_type, _MODEL_TYPES)
        _check("target", target, _TARGETS)
        if isinstance(infer_seq_length, bool) or not isinstance(infer_seq_length, int) or infer_seq_length < 1:
            raise InvalidArgumentError(f"{_OWNER}: infer_seq_length is {infer_seq_length!r}, but must be at least 1")
        if target != "CPU":
            ignored(_OWNER, f"target={target!r}", f"{_HERE}; write target='CPU' to hear no more of it")
        for name, value in (("device_id", device_id), ("rank_id", rank_id), ("ge_config_path", ge_config_path)):
            if value:
                ignored(_OWNER, f"{name}={value!r}", _HERE)
        if dynamic:
            ignored(_OWNER, "dynamic", "any length and any batch runs, without gears")
        if paged_attention:
            ignored(_OWNER, "paged_attention", "the cache is managed by the runtime (skywork_rt.Generator's options)")
        super().__init__(
            prefill_model_path=str(prefill_model_path),
            increment_model_path=str(increment_model_path),
            model_type=model_type,
            model_name=model_name,
            seq_length=infer_seq_length,
            target=target,
            device_id=device_id,
            rank_id=rank_id,
            config_path=ge_config_path,
            dynamic=dynamic,
            paged_attention=paged_attention,
            block_size=pa_block_size,
            num_blocks=pa_num_blocks,
        )


_PARAMETERS = (
    "prefill_model_path",
    "increment_model_path",
    "model_type",
    "model_name",
    "infer_seq_length",
    "target",
    "device_id",
    "rank_id",
    "ge_config_path",
    "dynamic",
    "paged_attention",
    "pa_block_size",
    "pa_num_blocks",
)


def _check(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidArgumentError(f"{_OWNER}: {name} is {value!r}, but must be one of {', '.join(allowed)}")
