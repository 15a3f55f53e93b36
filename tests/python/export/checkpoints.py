"""Checkpoints that the tests of the readers write, change and damage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.gguf.source import ARCHITECTURES, gguf_name
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.synthetic.huggingface_directory import write_random_hf
from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.checkpoints.synthetic.source import SyntheticSource

SEED = 3

Edit = Callable[[dict[str, Any]], None]


def small(**changes: Any) -> ModelConfig:
    """The preset `tiny` with changes."""
    return with_changes(preset("tiny"), **changes)


def family(model_type: str, **changes: Any) -> ModelConfig:
    """`small` with the parts that models of this type have, each in some form."""
    own: dict[str, dict[str, Any]] = {
        "qwen2": {"qkv_bias": True},
        "qwen3": {"qk_norm": True, "head_dim": 32},
        "smollm3": {"layers": 4, "layers_without_rope": (3,)},
    }
    return small(**{"tied_embeddings": False, **own.get(model_type, {}), **changes})


def edit_json(path: Path, **changes: Any) -> None:
    """Sets keys of a JSON file; None deletes one."""
    body = json.loads(path.read_text())
    for key, value in changes.items():
        body.pop(key, None) if value is None else body.__setitem__(key, value)
    path.write_text(json.dumps(body))


def write_hf(directory: Path, **arguments: Any) -> Path:
    """A random llama directory without a tokenizer unless `arguments` ask for one."""
    config = arguments.pop("config", None) or small(tied_embeddings=False)
    return write_random_hf(directory, config, SEED, **{"tokenizer": "none", **arguments})


def permuted(rows: NDArray[Any], head_dim: int) -> NDArray[Any]:
    """Rows of q or k as the converter to GGUF writes them for ggml's rotary of neighbours."""
    heads = rows.reshape(rows.shape[0] // head_dim, 2, head_dim // 2, *rows.shape[1:])
    return heads.swapaxes(1, 2).reshape(rows.shape)


class GgufBuilder:
    """Writes a GGUF file with the gguf package; attributes can be changed before `write`."""

    def __init__(self, config: ModelConfig, architecture: str = "llama") -> None:
        self.config = config
        self.architecture = architecture
        self.metadata: dict[str, Any] = {
            "block_count": config.layers,
            "context_length": config.max_length,
            "embedding_length": config.hidden_size,
            "feed_forward_length": config.intermediate_size,
            "attention.head_count": config.heads,
            "attention.head_count_kv": config.kv_heads,
            "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
            "rope.freq_base": config.rope.theta,
        }
        if config.head_dim != config.hidden_size // config.heads:
            self.metadata |= {"attention.key_length": config.head_dim, "attention.value_length": config.head_dim}
        self.tokenizer: dict[str, Any] = {}
        self.chat_template: str | None = None
        source = SyntheticSource(config, SEED)
        self.tensors: dict[str, NDArray[np.float32]] = {}
        for name in source.tensor_names():
            values = source.tensor(name)
            turned = ARCHITECTURES[architecture] and name.rpartition(".")[2] in ("q_proj", "k_proj", "q_bias", "k_bias")
            self.tensors[gguf_name(name)] = permuted(values, config.head_dim) if turned else values
        self.types: dict[str, gguf.GGMLQuantizationType] = {}

    def write(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(path, self.architecture)
        for key, value in self.metadata.items():
            _add(writer, f"{self.architecture}.{key}", value)
        for key, value in self.tokenizer.items():
            _add(writer, f"tokenizer.ggml.{key}", value)
        if self.chat_template is not None:
            writer.add_string("tokenizer.chat_template", self.chat_template)
        for name, values in self.tensors.items():
            kind = self.types.get(name, gguf.GGMLQuantizationType.F32)
            if kind == gguf.GGMLQuantizationType.F32:
                writer.add_tensor(name, np.ascontiguousarray(values))
            else:
                writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    adders: Mapping[type, Callable[[str, Any], None]] = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
        list: writer.add_array,
    }
    adders[type(value)](key, value)


def names_in(directory: Path) -> list[str]:
    """The sorted names of what is in a directory."""
    return sorted(entry.name for entry in directory.iterdir())
