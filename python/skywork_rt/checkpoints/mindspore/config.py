"""The configuration of a MindSpore checkpoint: a config.json of Hugging Face, or `model.model_config` of a MindFormers
YAML, in the terms of config.json.

What the keys mean was read in MindFormers 1.8.0, `LlamaConfig`, `LlamaFeedForward` and `FreqsMgr`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt.checkpoints.huggingface.json_file import read_json_object, read_text
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = [
    "Configuration",
    "LoraSettings",
    "configuration_beside",
    "find_configuration",
    "find_lora_settings",
    "read_configuration",
    "values_of_section",
]

_YAML = (".yaml", ".yml")
_LARGEST_YAML = 1 << 20


@dataclass(frozen=True)
class LoraSettings:
    """lora_alpha and lora_rank of a pet_config; the rank is None where it says none."""

    alpha: float
    rank: int | None = None


@dataclass(frozen=True)
class Configuration:
    """A configuration in the keys of config.json, and what a YAML says beside.

    `path` is the file that it comes from. `lora` is the YAML's pet_config, None without one.
    """

    path: Path
    values: dict[str, Any]
    lora: LoraSettings | None = None

    @property
    def is_json(self) -> bool:
        """Whether the file is a config.json."""
        return self.path.suffix not in _YAML


def find_configuration(beside: Path) -> Configuration:
    """The configuration that lies beside the checkpoint `beside`: config.json, else the one YAML with a model_config.

    Raises CheckpointError, naming the option, when there is none or more than one.
    """
    files = _candidates(beside.parent)
    if len(files) == 1:
        return read_configuration(files[0])
    several = f"{len(files)} YAML files with a model_config, {', '.join(file.name for file in files[:4])},"
    raise CheckpointError(
        f"{several if files else 'no config.json and no YAML with model.model_config'} beside {beside.name}: a "
        "checkpoint of MindSpore does not describe its model; give the file with --config (config=)"
    )


def configuration_beside(directory: Path) -> Configuration | None:
    """What `find_configuration` takes for a checkpoint in `directory`; None when there is nothing, or more than one.

    Raises what reading it raises.
    """
    files = _candidates(directory) if directory.is_dir() else []
    return read_configuration(files[0]) if len(files) == 1 else None


def _candidates(directory: Path) -> list[Path]:
    if (directory / "config.json").exists():
        return [directory / "config.json"]
    return [file for file in sorted(directory.iterdir()) if file.suffix in _YAML and _describes_a_model(file)]


def find_lora_settings(checkpoint: Path) -> LoraSettings | None:
    """pet_config of the training that wrote `checkpoint`; None when it is not found, or when several differ.

    It is in a YAML beside the checkpoint. Where a training saves its updates alone, in checkpoint_trainable/rank_N, it
    is beside the whole checkpoint, in checkpoint/rank_N.
    """
    folder = checkpoint.absolute().parent
    for place in (folder, folder.parent.parent / "checkpoint" / folder.name):
        files = [file for file in place.iterdir() if file.suffix in _YAML] if place.is_dir() else []
        found = {settings for settings in map(_lora_settings_of, files) if settings}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def read_configuration(path: Path) -> Configuration:
    """A config.json, a directory that has one, or a MindFormers YAML. Raises CheckpointError."""
    if path.is_dir():
        path = path / "config.json"
    if path.suffix not in _YAML:
        return Configuration(path, read_json_object(path))
    section = _model_config(_read_yaml(path))
    if section is None:
        raise CheckpointError(f"{path.name} has no model.model_config, which describes the model; give another file")
    return Configuration(path, _Section(path.name, section).as_json(), _lora_settings(section))


def values_of_section(section: Mapping[str, Any], file: str = "the configuration") -> dict[str, Any]:
    """A `model.model_config` in the keys of config.json; `file` is named in errors. Raises CheckpointError."""
    return _Section(file, section).as_json()


def _read_yaml(path: Path) -> Any:
    text = read_text(path)
    if len(text) > _LARGEST_YAML:
        raise CheckpointError(f"{path.name} has {len(text)} characters; a configuration is far smaller")
    try:
        import yaml
    except ImportError as error:
        raise UnsupportedError(
            f"{path.name} is read with PyYAML, which is not installed; run: pip install pyyaml, or give a config.json"
        ) from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not YAML: {' '.join(str(error).split())[:200]}") from error


def _describes_a_model(path: Path) -> bool:
    try:
        return _model_config(_read_yaml(path)) is not None
    except CheckpointError:
        return False  # somebody else's file


def _model_config(body: Any) -> dict[str, Any] | None:
    model = body.get("model") if isinstance(body, dict) else None
    section = model.get("model_config") if isinstance(model, dict) else None
    return section if isinstance(section, dict) else None


def _lora_settings(section: Mapping[str, Any]) -> LoraSettings | None:
    pet = section.get("pet_config")
    if not isinstance(pet, dict):
        return None
    alpha, rank = pet.get("lora_alpha", 16), pet.get("lora_rank")  # 16: MindFormers' default
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < math.inf:
        return None
    return LoraSettings(float(alpha), rank if isinstance(rank, int) and not isinstance(rank, bool) else None)


def _lora_settings_of(path: Path) -> LoraSettings | None:
    try:
        section = _model_config(_read_yaml(path))
    except CheckpointError:
        return None  # somebody else's file
    return _lora_settings(section) if section else None


class _Section:
    """`model.model_config`, read with checks that name the key."""

    def __init__(self, file: str, values: Mapping[str, Any]) -> None:
        self._file = file
        self._values = values

    def as_json(self) -> dict[str, Any]:
        self._refuse_foreign_parts()
        heads = self._count("num_heads", 32)
        hidden = self._count("hidden_size", 4096)
        length = self._count("seq_length", 2048)
        biased = self._flag("qkv_has_bias")
        return {
            "architectures": ["Qwen2ForCausalLM" if biased else "LlamaForCausalLM"],
            "model_type": "qwen2" if biased else "llama",
            "hidden_act": "silu",
            "hidden_size": hidden,
            "intermediate_size": self._intermediate(hidden),
            "num_hidden_layers": self._count("num_layers", 32),
            "num_attention_heads": heads,
            "num_key_value_heads": self._count("n_kv_heads", heads),
            "vocab_size": self._count("vocab_size", 32000),
            "max_position_embeddings": max(self._count("max_position_embedding", length), length),
            "rms_norm_eps": self._real("rms_norm_eps", 1e-5),
            "bos_token_id": self._values.get("bos_token_id", 1),
            "eos_token_id": self._values.get("eos_token_id", 2),
            "pad_token_id": self._values.get("pad_token_id", 0),
            "tie_word_embeddings": self._flag("tie_word_embeddings"),
            **self._rope(),
        }

    def _refuse_foreign_parts(self) -> None:
        kind = self._values.get("type", "LlamaConfig")
        if kind != "LlamaConfig":
            raise UnsupportedError(
                f"{self._file} has a model_config of type {str(kind)[:60]!r}; known is 'LlamaConfig'"
            )
        if self._flag("attn_proj_has_bias"):
            raise UnsupportedError(
                f"{self._file} has attn_proj_has_bias: the runtime has no part for a bias of the output projection"
            )
        moe = self._values.get("moe_config")
        if isinstance(moe, dict) and moe.get("expert_num", 1) not in (None, 1):
            raise UnsupportedError(f"{self._file} has a moe_config: mixtures of experts are not supported")

    def _intermediate(self, hidden: int) -> int:
        """MindFormers' own default: two thirds of four times hidden, rounded up to a multiple of `multiple_of`."""
        if self._values.get("intermediate_size") is not None:
            return self._count("intermediate_size", 0)
        wide = 4 * hidden
        if self._values.get("ffn_dim_multiplier") is not None:
            wide = int((self._real("ffn_dim_multiplier", 1.0) + 0.01) * wide)
        multiple = self._count("multiple_of", 256)
        return -(-int(2 * wide / 3) // multiple) * multiple

    def _rope(self) -> dict[str, Any]:
        theta, method = self._real("theta", 10000.0), str(self._values.get("extend_method", "None"))
        factor = self._values.get("scaling_factor", 1.0)
        if method == "None":
            return {"rope_theta": theta, "rope_scaling": None}
        if method == "NTK":
            return {"rope_theta": theta * self._real("scaling_factor", 1.0), "rope_scaling": None}
        if method == "PI":
            scaling: dict[str, Any] = {"factor": self._real("scaling_factor", 1.0)}
        elif method in ("linear", "LLAMA3", "YARN") and isinstance(factor, dict):
            scaling = dict(factor)
        else:
            raise UnsupportedError(
                f"{self._file} has extend_method {method[:40]!r} with scaling_factor {str(factor)[:60]!r}; supported "
                "are None, NTK and PI with a number, linear, LLAMA3 and YARN with their factors"
            )
        return {"rope_theta": theta, "rope_scaling": {**scaling, "rope_type": _ROPE_TYPES[method]}}

    def _count(self, key: str, default: int) -> int:
        value = self._values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(f"{self._file} has {key} = {str(value)[:60]}; expected a whole number of at least 1")
        return value

    def _real(self, key: str, default: float) -> float:
        value = self._values.get(key, default)
        if isinstance(value, str):  # YAML 1.1 reads 1e-5 as a text
            value = _number(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            given = str(self._values.get(key))[:60]
            raise CheckpointError(f"{self._file} has {key} = {given}; expected a positive number")
        return float(value)

    def _flag(self, key: str) -> bool:
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise CheckpointError(f"{self._file} has {key} = {str(value)[:60]}; expected True or False")
        return value


_ROPE_TYPES = {"PI": "linear", "linear": "linear", "LLAMA3": "llama3", "YARN": "yarn"}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
