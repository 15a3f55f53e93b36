"""Models and bundles that tests share. They are made once and kept in the test cache."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is, and how busy, is no property of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A job that a shell has put into the background ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "golden"), str(TESTS / "python"), str(TESTS / "python" / "export")]
sys.path.append(str(TESTS.parent / "examples"))

from cores import compute_numpy_on_one_core  # noqa: E402

compute_numpy_on_one_core()

import skywork_rt  # noqa: E402
from skywork_rt.support.mindspore_import import choose_protobuf  # noqa: E402

choose_protobuf()  # some tests import MindSpore, after whatever protobuf others have imported

from bundles import BACKENDS, bundle_of, smollm2_source, tiny_source, wide_source  # noqa: E402
from skywork_rt.checkpoints.samples import smollm2  # noqa: E402

# Files of 20 s or more go first, the longest first, so that no worker is left with one of them at the end.
LONGEST_FIRST = (
    "recipe/test_training.py",
    "eval/test_lm_eval.py",
    "api/test_smollm2.py",
    "recipe/test_end_to_end.py",
    "scaling/test_ray_serving.py",
    "bench/test_bench.py",
    "api/test_parity.py",
    "mindspore_backend/test_mindspore_parity.py",
    "package/test_wheel.py",
    "ascend_export/test_device_graphs.py",
    "mindspore_backend/test_mindformers_parity.py",
    "api/test_memory.py",
    "graph/test_graphs_on_lite.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders whole files; within one everything stays as it is. pytest-xdist hands them out in this order."""
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get("/".join(item.path.parts[-2:]), len(rank)))


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """A random GQA model of 0.1 M parameters with a byte-level tokenizer and a chat template, for every backend."""
    return bundle_of("tiny", tiny_source, ("f32", "int8"), kind="byte-level")


@pytest.fixture(scope="session")
def sentencepiece_bundle() -> Path:
    """The same with a SentencePiece tokenizer."""
    return bundle_of("tiny-sentencepiece", tiny_source, ("f32", "int8"), kind="sentencepiece")


@pytest.fixture(scope="session")
def bare_bundle() -> Path:
    """The same without a tokenizer."""
    return bundle_of("tiny-bare", tiny_source, ("f32", "int8"), kind="none")


@pytest.fixture(scope="session")
def endless_bundle() -> Path:
    """The tiny model with room for 65536 tokens: an answer that no test waits for."""
    return bundle_of("tiny-endless", tiny_source, ("f32", "int8"), kind="byte-level", max_length=65536)


@pytest.fixture(scope="session")
def smollm2_bundle() -> Path:
    """SmolLM2-135M-Instruct for every backend."""
    return bundle_of("smollm2", smollm2_source, ("int4", "int8"))


@pytest.fixture(scope="session")
def wide_bundle(smollm2_bundle: Path) -> Path:
    """The tiny model with SmolLM2's vocabulary of 49152 tokens, for the native backend."""
    tokenizer = str(smollm2_bundle / "tokenizer.json")
    return bundle_of("tiny-wide", wide_source, ("f32",), targets=("native",), tokenizer=tokenizer)


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Every backend in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def generator(tiny_bundle: Path, backend: str) -> Iterator[skywork_rt.Generator]:
    """The tiny model, open for a module's tests."""
    with skywork_rt.Generator(tiny_bundle, backend=backend, max_batch=8) as opened:
        yield opened


@pytest.fixture(scope="module")
def endless(endless_bundle: Path, backend: str) -> Iterator[skywork_rt.Generator]:
    """The tiny model whose answers go on until they are stopped."""
    with skywork_rt.Generator(endless_bundle, backend=backend, max_batch=4) as opened:
        yield opened


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    """SmolLM2-135M-Instruct's GGUF file."""
    return smollm2()
