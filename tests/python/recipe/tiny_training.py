"""A training that takes seconds: a model of two layers, and records of a few ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from skywork_rt.checkpoints.tensors.ckpt_layout import CkptLayout
from skywork_rt.checkpoints.tensors.file_layout import TensorSpec

VOCABULARY, LENGTH = 128, 16


def records(count: int, seed: int = 0, length: int = LENGTH) -> NDArray[np.int32]:
    """[count, length + 1] ids from 1 on: the next id is the last one and a step that the record keeps."""
    random = np.random.default_rng(seed)
    first, step = random.integers(1, VOCABULARY, (2, count, 1))
    return (1 + (first + step * np.arange(length + 1)) % (VOCABULARY - 1)).astype(np.int32)


def write_mindrecord(path: Path, rows: NDArray[np.int32], labels: NDArray[np.int32] | None = None) -> Path:
    """The pair of files, with small pages."""
    from mindspore.mindrecord import FileWriter

    writer = FileWriter(str(path), 1, overwrite=True)
    writer.set_header_size(1 << 14)
    writer.set_page_size(1 << 15)
    writer.add_schema({name: {"type": "int32", "shape": [-1]} for name in ("input_ids", "labels")}, "lm")
    labels = rows if labels is None else labels
    writer.write_raw_data([{"input_ids": row, "labels": label} for row, label in zip(rows, labels, strict=True)])
    writer.commit()
    return path


def settings(data: Path, **changes: Any) -> dict[str, Any]:
    """A whole configuration; `changes` are `section__key=value`."""
    found: dict[str, Any] = {
        "seed": 7,
        "run_mode": "train",
        "use_parallel": False,
        "runner_config": {"epochs": 1, "batch_size": 4, "sink_mode": False},
        "optimizer": {"type": "AdamW", "betas": [0.9, 0.999], "eps": 1.0e-8, "weight_decay": 0.1},
        "lr_schedule": {
            "type": "CosineWithWarmUpLR",
            "learning_rate": 1.0e-3,
            "warmup_steps": 2,
            "total_steps": 20,
            "lr_end": 1.0e-5,
        },
        "train_dataset": {
            "data_loader": {"type": "MindDataset", "dataset_dir": str(data), "shuffle": False},
            "input_columns": ["input_ids", "labels"],
            "num_parallel_workers": 1,
            "drop_remainder": True,
        },
        "callbacks": [
            {"type": "MFLossMonitor", "per_print_times": 1},
            {"type": "CheckpointMonitor", "prefix": "tiny", "save_checkpoint_steps": 10, "integrated_save": False},
        ],
        "runner_wrapper": {
            "type": "MFTrainOneStepCell",
            "use_clip_grad": True,
            "max_grad_norm": 0.5,
            "scale_sense": {
                "type": "DynamicLossScaleUpdateCell",
                "loss_scale_value": 65536,
                "scale_factor": 2,
                "scale_window": 7,
            },
        },
        "context": {"mode": 0, "device_target": "CPU", "max_device_memory": "2GB"},
        "parallel": {"parallel_mode": 0, "gradients_mean": True, "full_batch": False},
        "parallel_config": {"data_parallel": 1, "model_parallel": 1, "pipeline_stage": 1},
        "trainer": {"type": "CausalLanguageModelingTrainer", "model_name": "tiny"},
        "model": {
            "model_config": {
                "type": "LlamaConfig",
                "seq_length": LENGTH,
                "hidden_size": 32,
                "intermediate_size": 88,
                "num_layers": 2,
                "num_heads": 4,
                "n_kv_heads": 2,
                "vocab_size": VOCABULARY,
                "rms_norm_eps": 1.0e-6,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "pad_token_id": 0,
                "ignore_token_id": -100,
                "compute_dtype": "float32",
                "layernorm_compute_type": "float32",
                "softmax_compute_type": "float32",
                "rotary_dtype": "float32",
                "param_init_type": "float32",
                "use_past": False,
                "use_flash_attention": False,
                "use_rope_slice": True,
                "fused_rms_norm": False,
            },
            "arch": {"type": "LlamaForCausalLM"},
        },
    }
    for path, value in changes.items():
        place = found
        *parts, last = path.split("__")
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def write_settings(path: Path, values: dict[str, Any]) -> Path:
    """As a YAML file."""
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def write_ckpt(path: Path, tensors: Mapping[str, NDArray[Any]]) -> Path:
    """A .ckpt, without MindSpore."""
    layout = CkptLayout([TensorSpec(name, value.shape, str(value.dtype)) for name, value in tensors.items()])
    with path.open("wb") as file:
        for index, value in enumerate(tensors.values()):
            file.writelines(layout.pieces(index, memoryview(np.ascontiguousarray(value).tobytes())))
    return path


def state_after(step: int, batch: int = 4) -> dict[str, NDArray[Any]]:
    """The weights with all that resuming needs."""
    weights: dict[str, NDArray[Any]] = dict(initial_weights())
    moments = {f"adam_{kind}.{name}": np.zeros_like(value) for kind in "mv" for name, value in weights.items()}
    numbers = {"step_num": step, "epoch_num": 1, "global_batch_size": batch}
    return {**weights, **moments, **{name: np.array(value, np.int32) for name, value in numbers.items()}}


def initial_weights(seed: int = 3) -> dict[str, NDArray[np.float32]]:
    """Every tensor of the model in MindFormers' names, the same whoever asks."""
    random = np.random.default_rng(seed)
    hidden, wide, narrow = 32, 88, 16
    shapes: dict[str, tuple[int, ...]] = {"model.tok_embeddings.embedding_weight": (VOCABULARY, hidden)}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "attention_norm.weight": (hidden,),
            prefix + "ffn_norm.weight": (hidden,),
            prefix + "attention.wq.weight": (hidden, hidden),
            prefix + "attention.wk.weight": (narrow, hidden),
            prefix + "attention.wv.weight": (narrow, hidden),
            prefix + "attention.wo.weight": (hidden, hidden),
            prefix + "feed_forward.w1.weight": (wide, hidden),
            prefix + "feed_forward.w2.weight": (hidden, wide),
            prefix + "feed_forward.w3.weight": (wide, hidden),
        }
    shapes |= {"model.norm_out.weight": (hidden,), "lm_head.weight": (VOCABULARY, hidden)}
    return {
        name: (random.normal(0, 0.1, shape) + (len(shape) == 1)).astype(np.float32) for name, shape in shapes.items()
    }


def golden_data() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ids and labels of 20 batches of 4: some labels are ignored, some records end in pads."""
    ids = records(80, seed=5)
    labels = ids.copy()
    labels[::3, :6] = -100
    ids[1::5, -4:] = 0
    labels[1::5, -4:] = -100
    return ids, labels
