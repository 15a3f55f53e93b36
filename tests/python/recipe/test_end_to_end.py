"""The whole recipe as `make demo-recipe` shows it: a tiny Chinese model learns the capitals; every backend answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from capitals import CONTINUATION

from bundles import BACKENDS
from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile

EXAMPLES = Path(__file__).parents[3] / "examples"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("lite" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out lite"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo ran."""
    out = tmp_path_factory.mktemp("recipe") / "out"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROTOCOL_BUFFERS")}
    command = [sys.executable, str(EXAMPLES / "demo_recipe.py"), "--out", str(out), "--json", str(out / "answers.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_backend_goes_on_with_the_capitals(folder: Path) -> None:
    answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    assert [answer["way"] for answer in answers] == [
        "MindSpore Lite",
        "native, f32",
        "native, int8",
        "MindSpore",
        "MindSpore, the .ckpt",
    ]
    for answer in answers:
        assert answer["text"].startswith(CONTINUATION) and len(answer["ids"]) == 16
        assert answer["ids"] == answers[0]["ids"]


def test_there_and_back_is_the_same_to_the_bit(folder: Path) -> None:
    (trained,) = (folder / "training" / "checkpoint" / "rank_0").glob("*.ckpt")
    before, after = CkptFile(trained), CkptFile(folder / "mindspore" / "tiny_llama.ckpt")
    assert len(after.tensors) == 2 * 9 + 3
    for name in after.tensors:
        assert before.tensors[name] == after.tensors[name]
        np.testing.assert_array_equal(before.read(name), after.read(name))


def test_the_loss_fell_and_its_curve_was_drawn(folder: Path) -> None:
    steps = [json.loads(line) for line in (folder / "training" / "loss.jsonl").read_text().splitlines()]
    losses = [step["loss"] for step in steps if "loss" in step]
    assert losses[0] > 5 and losses[-1] < 0.1
    assert (folder / "training" / "loss.png").read_bytes().startswith(b"\x89PNG")
