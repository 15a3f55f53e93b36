"""Graphs of small random models, built once a run by real MindSpore and Lite's real converter."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from built_model import BuiltModel
from random_models import CASES, SEED

from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import BackendUnavailableError
from skywork_rt.export.graph import build_graphs
from skywork_rt.export.graph.tools import LiteTools, find_tools


@pytest.fixture(scope="session")
def mindspore() -> None:
    """Skips where MindSpore is not installed."""
    if importlib.util.find_spec("mindspore") is None:
        pytest.skip("MindSpore is not installed (pip install 'skywork_rt[export]')")


@pytest.fixture(scope="session")
def tools() -> LiteTools:
    """Skips in a build without the Lite backend."""
    try:
        return find_tools()
    except BackendUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def built(mindspore: None, tools: LiteTools, tmp_path_factory: pytest.TempPathFactory) -> BuiltModel:
    """Name of a random model to its source and the folder with its verified graphs."""
    done: dict[str, tuple[SyntheticSource, Path]] = {}

    def build(name: str) -> tuple[SyntheticSource, Path]:
        if name not in done:
            source, folder = SyntheticSource(CASES[name].config, SEED), tmp_path_factory.mktemp(name)
            build_graphs(source, folder)
            done[name] = source, folder
        return done[name]

    return build
