"""What the tests of this folder share: MindSpore is imported once a process, and a model's shapes are compiled once."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

from random_models import CASES, SEED

from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.mindspore_backend.backend import Limits, MindSporeBackend

MakeBackend = Callable[[str, int, int, int], MindSporeBackend]


@functools.cache
def _cells(name: str) -> object:
    from skywork_rt.mindspore_backend.cells import Cells
    from skywork_rt.mindspore_backend.parameters import SourceParameters

    return Cells(SourceParameters(SyntheticSource(CASES[name].config, SEED), "f32"))


@pytest.fixture(scope="session")
def make_backend() -> MakeBackend:
    """(random model, sequences, longest, cached tokens): a backend over cells that are compiled once for all tests."""

    def make(name: str, sequences: int, longest: int, tokens: int) -> MindSporeBackend:
        choices = {"weights": "f32", "activations": "f32", "kv_cache": "f32"}
        return MindSporeBackend(CASES[name].config, _cells(name), Limits(sequences, longest, tokens), choices)  # type: ignore[arg-type]

    return make
