"""Graphs of small random models, built by MindSpore and Lite's real converter: those of the bundles in the cache."""

from __future__ import annotations

import importlib.util

import pytest
from built_model import BuiltModel
from random_models import CASES, SEED

from bundles import BACKENDS, random_bundle
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import BackendUnavailableError
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
def built(mindspore: None, tools: LiteTools) -> BuiltModel:
    """Name of a random model to its source and a folder with its verified graphs, which may only be read."""
    if "lite" not in BACKENDS:
        pytest.skip("SKYWORK_RT_TEST_BACKENDS leaves out lite")
    return lambda name: (SyntheticSource(CASES[name].config, SEED), random_bundle(name))
