"""A model as the recipe's users have one: a .ckpt, a YAML in MindFormers' keys, a tokenizer.model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from capitals import train_tokenizer
from numpy.typing import NDArray

from skywork_rt.checkpoints.tensors.ckpt_layout import CkptLayout
from skywork_rt.checkpoints.tensors.file_layout import TensorSpec

VOCABULARY, HIDDEN, WIDE, LAYERS, HEADS, LENGTH = 400, 64, 176, 2, 4, 128


@dataclass(frozen=True)
class RecipeModel:
    """Paths of its three files, in one folder of their own."""

    checkpoint: Path
    config: Path
    tokenizer: Path


def write_recipe_model(folder: Path, seed: int = 11, length: int = LENGTH) -> RecipeModel:
    """A random model whose greedy texts do not repeat one token: its embeddings are wide."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(folder)
    config = folder / "run_skywork_tiny.yaml"
    config.write_text(yaml.safe_dump(settings(tokenizer, length), sort_keys=False), encoding="utf-8")
    checkpoint = folder / "skywork_tiny.ckpt"
    write_ckpt(checkpoint, weights(seed))
    return RecipeModel(checkpoint, config, tokenizer)


def state() -> str:
    """Short hash of this file, which says which model it is."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def checkpoint_alone(folder: Path, state: str) -> Path:
    """For `bundle_of`: the path of the checkpoint; another `state` makes another bundle."""
    return write_recipe_model(folder).checkpoint


def settings(tokenizer: Path, length: int = LENGTH) -> dict[str, Any]:
    """The parts of run_skywork_13b.yaml that say which model it is."""
    shape = {"seq_length": length, "hidden_size": HIDDEN, "intermediate_size": WIDE, "num_layers": LAYERS}
    types = dict.fromkeys(("compute_dtype", "param_init_type", "softmax_compute_type", "rotary_dtype"), "float32")
    defaults = {"repetition_penalty": 1, "max_decode_length": 40, "top_k": 3, "top_p": 1, "do_sample": False}
    section = {
        "type": "LlamaConfig",
        "batch_size": 1,
        **shape,
        "num_heads": HEADS,
        "vocab_size": VOCABULARY,
        "multiple_of": 256,
        "rms_norm_eps": 1.0e-6,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "ignore_token_id": -100,
        "layernorm_compute_type": "float32",
        **types,
        "use_past": False,
        "extend_method": "None",
        "use_flash_attention": False,
        "use_rope_slice": True,
        "fused_rms_norm": False,
        "checkpoint_name_or_path": "",
        **defaults,
    }
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"}
    return {
        "output_dir": "./output",
        "load_checkpoint": "",
        "use_parallel": False,
        "trainer": {"type": "CausalLanguageModelingTrainer", "model_name": "skywork_tiny"},
        "context": {"mode": 0, "device_target": "CPU", "max_device_memory": "2GB"},
        "parallel": {},
        "parallel_config": {},
        "model": {"model_config": section, "arch": {"type": "LlamaForCausalLM"}},
        "processor": {
            "return_tensors": "ms",
            "tokenizer": {**names, "vocab_file": str(tokenizer), "type": "LlamaTokenizer"},
            "type": "LlamaProcessor",
        },
    }


def weights(seed: int) -> dict[str, NDArray[np.float32]]:
    """In MindFormers' names."""
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.tok_embeddings.embedding_weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        square = {f"{prefix}attention.w{name}.weight": (HIDDEN, HIDDEN) for name in "qkvo"}
        norms = {f"{prefix}{name}.weight": (HIDDEN,) for name in ("attention_norm", "ffn_norm")}
        wide = {f"{prefix}feed_forward.w{name}.weight": (WIDE, HIDDEN) for name in "13"}
        shapes |= {**square, **norms, **wide, f"{prefix}feed_forward.w2.weight": (HIDDEN, WIDE)}
    shapes |= {"model.norm_out.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    made = {
        name: (random.normal(0, 0.3, shape) + (len(shape) == 1)).astype(np.float32) for name, shape in shapes.items()
    }
    # <unk>, which is the pad too, is never the best token: MindFormers hides it from attention when it comes up.
    made["lm_head.weight"][0] = 0
    return made


def write_ckpt(path: Path, tensors: dict[str, NDArray[np.float32]]) -> None:
    """A .ckpt, without MindSpore."""
    layout = CkptLayout([TensorSpec(name, value.shape, str(value.dtype)) for name, value in tensors.items()])
    with path.open("wb") as file:
        for index, value in enumerate(tensors.values()):
            file.writelines(layout.pieces(index, memoryview(np.ascontiguousarray(value).tobytes())))
