"""MindSpore for the tests of this folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
from mindspore_oracle import MindSpore


@pytest.fixture(scope="session")
def mindspore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MindSpore]:
    """Skips where MindSpore is not installed."""
    if importlib.util.find_spec("mindspore") is None:
        pytest.skip("MindSpore is not installed (pip install 'skywork_rt[export]')")
    child = MindSpore(tmp_path_factory.mktemp("mindspore"))
    yield child
    child.close()
