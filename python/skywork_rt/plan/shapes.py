"""The shape of a model from wherever it is written down: a name, a bundle, a Hugging Face config, a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.huggingface.config import read_config
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.open import open_source
from skywork_rt.checkpoints.synthetic.presets import preset
from skywork_rt.errors import CheckpointError, InvalidArgumentError

__all__ = ["shape_of"]


def shape_of(model: Path | None, like: str | None) -> ModelConfig:
    """Reads no weights.

    `model`: a bundle, a checkpoint as `skywork-rt export` takes it, a folder with a config.json, or that file itself.
    `like`: a shape by name instead. Raises InvalidArgumentError unless exactly one is given, and what reading raises.
    """
    if (model is None) == (like is None):
        raise InvalidArgumentError("give either a model (a bundle, a checkpoint or its config.json) or --like NAME")
    if like is not None:
        return preset(like)
    assert model is not None, "one of both was given"
    if (model / "model.json").is_file():
        return ModelConfig.from_json(BundleInfo.open(model).section("model"))
    config = model / "config.json" if model.is_dir() else model
    if config.suffix == ".json":
        return _of_config(config)
    return open_source(model).config


def _of_config(path: Path) -> ModelConfig:
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no object")
    return read_config(config, path.absolute().parent.name)
