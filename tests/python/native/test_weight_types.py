"""Every type of weights: Python writes what C++ reads. Nothing here names one, so that a new type is held to it too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundles import BACKENDS
from skywork_rt._core import RawBackend, weight_types
from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.export import export
from skywork_rt.export.quantise import (
    DEFAULT_WEIGHTS,
    RANDOM_WEIGHTS,
    ROUNDED_WEIGHTS,
    quantise_weights,
    write_random_weights,
)
from skywork_rt.export.quantise.types import TYPES
from skywork_rt.export.quantise.weights import VOCABULARY_TENSORS

IDS = [5, 99, 3, 64, 17, 201, 8, 8, 130]


def test_python_and_cpp_have_the_same_types() -> None:
    theirs = {kind["name"]: (kind["scale_bytes"], kind["scale_groups"], kind["code_bytes"]) for kind in weight_types()}
    assert {name: (kind.scale_bytes, kind.scale_groups, kind.code_bytes) for name, kind in TYPES.items()} == theirs


def test_lists_of_names_hang_together() -> None:
    assert {"f32", "bf16", "int8", "int4"} <= set(ROUNDED_WEIGHTS)  # what there is stays: bundles have them
    assert DEFAULT_WEIGHTS == ("int8",)
    assert set(DEFAULT_WEIGHTS) | set(RANDOM_WEIGHTS) <= set(ROUNDED_WEIGHTS)
    sizes = [kind.group_bytes for kind in TYPES.values()]
    assert sizes == sorted(sizes, reverse=True)
    for name, kind in TYPES.items():
        assert kind.name == name
        assert kind.vocabulary is None or kind.vocabulary in TYPES
        assert (kind.pack_raw is not None) == (kind.raw_types != ())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Neither rows nor columns are whole panels and groups.
    config = with_changes(preset("tiny"), hidden_size=72, intermediate_size=100, vocab_size=261)
    out = tmp_path_factory.mktemp("types") / "bundle"
    return export(SyntheticSource(config, 3), out, targets=["native"], weights=list(ROUNDED_WEIGHTS))


def logits(bundle: Path, weights: str) -> Float32Array:
    backend = RawBackend(str(bundle), {"backend": "native", "weights": weights, "threads": 1, "max_batch": 1})
    return backend.forward([(backend.open(len(IDS)), IDS, list(range(len(IDS))))])


@pytest.mark.skipif("native" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out native")
@pytest.mark.parametrize("name", ROUNDED_WEIGHTS)
def test_the_backend_computes_with_the_weights_that_were_packed(bundle: Path, name: str) -> None:
    exact = logits(bundle, "f32")
    off = logits(bundle, name) - exact
    # A weight in a wrong place makes the two unrelated: their difference is then larger than either.
    assert np.sqrt(np.square(off).mean()) <= (0 if TYPES[name].lossless else 0.25) * exact.std()


@pytest.mark.parametrize("name", RANDOM_WEIGHTS)
def test_random_files_hold_what_quantised_files_do(tmp_path: Path, name: str) -> None:
    config = preset("tiny")
    quantise_weights(SyntheticSource(config, 3), name, tmp_path / "quantised")
    write_random_weights(config, name, tmp_path / "random")
    assert (tmp_path / "quantised").stat().st_size == (tmp_path / "random").stat().st_size


@pytest.mark.parametrize("name", ROUNDED_WEIGHTS)
def test_the_vocabulary_has_the_type_that_is_said(tmp_path: Path, name: str) -> None:
    quantise_weights(SyntheticSource(preset("tiny"), 3), name, tmp_path / "w")
    header = (tmp_path / "w").read_bytes()[:65536].decode("latin-1")
    for tensor in VOCABULARY_TENSORS:
        if f'"{tensor}.' in header:
            assert f'"{tensor}.{TYPES[name].vocabulary or name}"' in header
