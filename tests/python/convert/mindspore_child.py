"""MindSpore in a process of its own, which does one task after the other for the tests.

MindSpore's generated protobuf code does not load where another library has loaded protobuf before it, and who imports
MindSpore pays for that once a process. Each line of standard input is a JSON list of a function's name and its
arguments; each answer is a line with its result.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PREFIX = "answer: "

PRECISE = {
    **dict.fromkeys(("compute_dtype", "param_init_type", "softmax_compute_type", "rotary_dtype"), "float32"),
    "use_past": False,
    "fused_rms_norm": False,
    "use_rope_slice": True,
}
"""float32 throughout, and no kernel that the CPU lacks."""


def save(arrays: str, out: str, options: dict[str, Any]) -> None:
    """mindspore.save_checkpoint of the arrays of an .npz; a name that ends in ":bfloat16" is one of that type."""
    import mindspore as ms

    slice_kib = options.pop("slice_kib", None)
    before = ms.train.serialization.SLICE_SIZE
    if slice_kib:
        ms.train.serialization.SLICE_SIZE = slice_kib
    parameters = {}
    with np.load(arrays) as file:
        for key in file.files:
            name, _, kind = key.partition(":")
            tensor = ms.Tensor(file[key], dtype=ms.bfloat16) if kind else ms.Tensor(file[key])
            parameters[name] = ms.Parameter(tensor, name=name, requires_grad=False)
    if Path(out).exists():
        Path(out).chmod(0o600)
    ms.save_checkpoint(parameters, out, **options)
    ms.train.serialization.SLICE_SIZE = before


def load(path: str, out: str, options: dict[str, Any]) -> dict[str, str]:
    """mindspore.load_checkpoint into an .npz, bfloat16 as float32; returns the types."""
    import mindspore as ms

    found = ms.load_checkpoint(path, **options)
    kinds = {name: str(value.dtype) for name, value in found.items() if not isinstance(value, str)}
    arrays = {
        name: (value.astype(ms.float32) if value.dtype == ms.bfloat16 else value).asnumpy()
        for name, value in found.items()
        if not isinstance(value, str)
    }
    np.savez(out, **arrays)
    return kinds


def transform(source: str, out: str, prefix: str, source_strategy: str | None, out_strategy: str | None) -> None:
    """mindspore.transform_checkpoints."""
    import mindspore as ms

    ms.transform_checkpoints(source, out, prefix, source_strategy, out_strategy)


def merge_strategies(directory: str, out: str) -> None:
    """mindspore.merge_pipeline_strategys."""
    import mindspore as ms

    ms.merge_pipeline_strategys(directory, out)


def lora_forward(base: dict[str, Any], out: str, seed: int) -> dict[str, Any]:
    """A small LlamaForCausalLM of MindFormers with LoRA: its checkpoint in `out`, and its logits in `out`.npy."""
    import mindspore as ms
    from mindformers import LlamaConfig, LlamaForCausalLM
    from mindformers.pet import LoraConfig, LoraModel

    ms.set_context(mode=1, device_target="CPU")
    net = LlamaForCausalLM(LlamaConfig(**base, **PRECISE))
    lora = LoraConfig(lora_rank=4, lora_alpha=12, lora_dropout=0.0, target_modules=".*wq|.*wk|.*wv|.*wo|.*w1|.*w2|.*w3")
    net = LoraModel(lora, net)
    draw = np.random.default_rng(seed)
    for parameter in net.get_parameters():
        parameter.set_data(ms.Tensor((draw.standard_normal(parameter.shape) * 0.2).astype(np.float32)))
    ms.save_checkpoint(net, out)
    return {"names": [parameter.name for parameter in net.get_parameters()], **_logits(net, base, out)}


def forward(base: dict[str, Any], checkpoint: str, out: str) -> dict[str, Any]:
    """The same network without LoRA, its weights from a checkpoint: its logits in `out`.npy."""
    import mindspore as ms
    from mindformers import LlamaConfig, LlamaForCausalLM

    ms.set_context(mode=1, device_target="CPU")
    net = LlamaForCausalLM(LlamaConfig(**base, **PRECISE))
    missing, _ = ms.load_param_into_net(net, ms.load_checkpoint(checkpoint), strict_load=True)
    return {"missing": missing, **_logits(net, base, out)}


def parameter_names(base: dict[str, Any]) -> list[str]:
    """What MindFormers itself calls the parameters of a network."""
    import mindspore as ms
    from mindformers import LlamaConfig, LlamaForCausalLM

    ms.set_context(mode=1, device_target="CPU")
    net = LlamaForCausalLM(LlamaConfig(**base, **PRECISE))
    return [parameter.name for parameter in net.get_parameters()]


def cosines(head_dim: int, length: int, theta: float, extend_method: str, scaling_factor: Any, out: str) -> None:
    """MindFormers' table of cosines, [length, head_dim], in `out`."""
    import mindspore as ms
    from mindformers.modules.layers import FreqsMgr

    ms.set_context(mode=1, device_target="CPU")
    table = FreqsMgr(
        head_dim,
        seq_length=length,
        max_position_embedding=length,
        rotary_dtype=ms.float32,
        theta=theta,
        scaling_factor=scaling_factor,
        extend_method=extend_method,
    )
    np.save(out, table.freqs_cos.asnumpy())


def _logits(net: Any, base: dict[str, Any], out: str) -> dict[str, Any]:
    import mindspore as ms

    net.set_train(False)
    tokens = ms.Tensor((np.arange(base["seq_length"]) % base["vocab_size"])[None].astype(np.int32))
    np.save(out, net(tokens)[0].asnumpy())
    return {}


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task
    for task in (save, load, transform, merge_strategies, lora_forward, forward, parameter_names, cosines)
}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is no answer
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer: Any = [True, TASKS[name](*arguments)]
        except Exception:
            answer = [False, traceback.format_exc()]
        answers.write(PREFIX + json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
