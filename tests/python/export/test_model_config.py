"""ModelConfig: what model.json says of a model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from checkpoints import small

from skywork_rt.checkpoints.model import ModelConfig, Source
from skywork_rt.checkpoints.synthetic.presets import PRESETS, preset
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import CheckpointError


@pytest.mark.parametrize("name", list(PRESETS))
def test_configuration_survives_json_exactly(name: str) -> None:
    config = preset(name)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("skywork-13b", 13_854_113_280),
        ("llama-2-7b", 6_738_415_616),
        ("mistral-7b", 7_248_023_552),
        ("qwen2-7b", 7_615_616_512),
        ("smollm2-135m", 134_515_008),
    ],
)
def test_presets_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    assert preset(name).parameter_count() == parameters


def test_tensors_follow_the_shape_of_the_model() -> None:
    shapes = small(qkv_bias=True, tied_embeddings=False).tensor_shapes()
    assert shapes["layers.1.k_proj"] == (32, 64)
    assert shapes["layers.1.k_bias"] == (32,)
    assert shapes["layers.0.down_proj"] == (64, 160)
    assert shapes["lm_head"] == (512, 64)
    assert "lm_head" not in small(tied_embeddings=True).tensor_shapes()
    assert len(shapes) == 3 + 2 * 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "3 heads are not a multiple of 2"),
        ({"layers": 0}, "layers is 0"),
        ({"vocab_size": 2**31}, "vocab_size is 2147483648"),
        ({"layers": 2**30}, "layers is 1073741824; it must be a whole number from 1 to 4096"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps is 0.0"),
        ({"bos_id": 512}, "bos_id 512 is outside the vocabulary of 512"),
        ({"eos_ids": (2, -1)}, "eos id -1 is outside"),
        ({"head_dim": 15, "rope": small().rope}, "head_dim is 15"),
        ({"head_dim": 32, "rope": small().rope}, "rope has 8 inverse frequencies; head_dim 32 needs 16"),
    ],
)
def test_impossible_numbers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        small(**changes)


def test_a_synthetic_source_is_a_source() -> None:
    assert isinstance(SyntheticSource(preset("tiny")), Source)
