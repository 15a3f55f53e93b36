"""MindSpore itself, which says what a checkpoint has to be."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest


@pytest.fixture(scope="session")
def mindspore() -> Any:
    """The module, imported once a process; skips where it is not installed."""
    if importlib.util.find_spec("mindspore") is None:
        pytest.skip("MindSpore is not installed (pip install 'skywork_rt[export]')")
    import mindspore

    return mindspore
