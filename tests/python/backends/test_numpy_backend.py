"""A whole model behind the binding for backends in Python: the promises of the interface, and the ids of the others."""

from __future__ import annotations

import pytest
from conformance import Conformance, Make
from numpy_llama import NumpyLlama
from random_models import CASES, SEED

from bundles import BACKENDS, random_bundle
from skywork_rt._core import RawBackend
from skywork_rt.checkpoints.synthetic.source import SyntheticSource

SOURCE = SyntheticSource(CASES["qkv-bias"].config, SEED)

NATIVE = {"backend": "native", "weights": "f32", "activations": "f32"}


class TestNumpyConformance(Conformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda batch, tokens: RawBackend.over(NumpyLlama(SOURCE, max_batch=batch, max_cached_tokens=tokens))


@pytest.mark.skipif("native" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out native")
class TestNativeConformance(Conformance):
    """The suite itself is held by a backend that passes the one in C++."""

    @pytest.fixture
    def make(self) -> Make:
        bundle = str(random_bundle("qkv-bias"))
        limits = {"max_length": 64, "prefix_cache": False}
        return lambda batch, tokens: RawBackend(
            bundle, NATIVE | limits | {"max_batch": batch, "max_cached_tokens": tokens}
        )
