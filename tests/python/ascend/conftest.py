"""Graphs as MindFormers exports them, a configuration and a tokenizer that fit them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from skywork_rt.checkpoints.synthetic.huggingface_directory import write_random_hf
from skywork_rt.checkpoints.synthetic.presets import preset, with_changes

MODEL = {
    "type": "LlamaConfig",
    "num_layers": 2,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 512,
    "seq_length": 64,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a form: assign, indexed, paged, exported by MindSpore itself."""
    out = tmp_path_factory.mktemp("exports")
    script = Path(__file__).with_name("mindir_exports.py")
    subprocess.run([sys.executable, str(script), str(out)], check=True, capture_output=True, timeout=300)
    return out


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of at most 512 pieces."""
    directory = tmp_path_factory.mktemp("tokenizer")
    write_random_hf(directory, with_changes(preset("tiny"), vocab_size=512), tokenizer="sentencepiece")
    return directory / "tokenizer.model"


@pytest.fixture
def write_yaml(tmp_path: Path) -> Callable[..., Path]:
    """Writes run_tiny.yaml, with changes to its model_config."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "run_tiny.yaml"
        path.write_text(yaml.safe_dump({"model": {"model_config": {**MODEL, **changes}}}))
        return path

    return write
