"""What an export for Ascend verifies of itself, and what it says when it cannot."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
from random_models import CASES

from skywork_rt.checkpoints.synthetic.presets import preset
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.export.graph.ascend import verify
from skywork_rt.export.graph.ascend.options import AscendOptions, plan_form

NOWHERE = {"full": Path("none"), "incremental": Path("none")}


def test_a_large_model_at_its_full_length_is_said_not_to_be_verified(caplog: pytest.LogCaptureFixture) -> None:
    source = SyntheticSource(preset("skywork-13b"), 1)
    with caplog.at_level(logging.WARNING, "skywork_rt.export"):
        verify.verify_graphs(source, plan_form(AscendOptions(), source.config), NOWHERE)  # type: ignore[arg-type]
    assert "not verified: the gear 1x4096 takes 1.1e+14 operations in numpy" in caplog.text
    assert "a small gear such as 1x16 is verified" in caplog.text


def test_so_is_one_too_short_for_a_step(caplog: pytest.LogCaptureFixture) -> None:
    source = SyntheticSource(CASES["mha"].config, 1)
    with caplog.at_level(logging.WARNING, "skywork_rt.export"):
        verify.verify_graphs(source, plan_form(AscendOptions(seq_length=3), source.config), NOWHERE)  # type: ignore[arg-type]
    assert "seq_length 3 leaves no room for a prompt and 3 steps" in caplog.text


def test_and_one_whose_cache_has_no_room(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "available_memory", lambda: 1e6)
    source = SyntheticSource(CASES["mha"].config, 1)
    with caplog.at_level(logging.WARNING, "skywork_rt.export"):
        verify.verify_graphs(source, plan_form(AscendOptions(batch=64), source.config), NOWHERE)  # type: ignore[arg-type]
    assert "the cache takes 0.0 GB of memory" in caplog.text


def test_a_small_gear_lets_a_large_model_be_verified() -> None:
    config = dataclasses.replace(preset("skywork-13b"), name="skywork")
    for batch in (1, 2, 8):
        form = plan_form(AscendOptions(batch=batch, gears=[(1, 16)]), config)
        assert verify._first_call(config, form) == ((1, 16), 1)
    small = CASES["mha"].config
    assert verify._first_call(small, plan_form(AscendOptions(batch=8, seq_length=96), small)) == ((8, 96), 3)
