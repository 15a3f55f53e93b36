"""MindFormers in a process of its own: `mindformers_child.py FOLDER NAME=VALUE…`, the shape of a LlamaConfig.

Writes a random LlamaForCausalLM to FOLDER/model.ckpt by mindspore.save_checkpoint, tokens to FOLDER/tokens.npy and the
logits that it gives for them, float32 [tokens, vocabulary], to FOLDER/logits.npy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(folder: Path, shape: dict[str, int]) -> None:
    import mindspore as ms
    from mindformers.models.llama import LlamaConfig, LlamaForCausalLM

    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_device("CPU")
    settings = {"compute_dtype": "float32", "param_init_type": "float32", "rms_norm_eps": 1e-6}
    plain = {"use_flash_attention": False, "use_rope_slice": True, "fused_rms_norm": False}
    model = LlamaForCausalLM(LlamaConfig(**shape, **settings, **plain))
    model.set_train(False)
    rng = np.random.default_rng(3)
    for parameter in model.get_parameters():
        size = parameter.shape
        values = rng.uniform(0.5, 1.5, size) if "norm" in parameter.name else rng.normal(0, size[-1] ** -0.5, size)
        parameter.set_data(ms.Tensor(values.astype(np.float32)))
    ms.save_checkpoint(model, str(folder / "model.ckpt"))
    tokens = rng.integers(1, shape["vocab_size"], shape["seq_length"]).astype(np.int32)
    np.save(folder / "tokens.npy", tokens)
    np.save(folder / "logits.npy", model(ms.Tensor(tokens[None]))[0].asnumpy().reshape(len(tokens), -1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), {name: int(value) for name, _, value in (item.partition("=") for item in sys.argv[2:])})
