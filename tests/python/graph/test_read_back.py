"""What a bundle holds is read back as what it was made of: Lite's graph files and packed weights, without Lite."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from random_models import CASES, SEED

from bundles import BACKENDS, random_bundle
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import CorruptBundleError
from skywork_rt.export.graph.lite_file import LiteFile
from skywork_rt.export.graph.weights import graph_weights
from skywork_rt.export.packed_source import PackedSource

lite = pytest.mark.skipif("lite" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out lite")
native = pytest.mark.skipif("native" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out native")


@lite
@pytest.mark.parametrize("file", ["full.ms", "incremental.ms"])
def test_the_constants_of_a_graph_are_the_weights(file: str) -> None:
    source = SyntheticSource(CASES["qkv-bias"].config, SEED)
    opened = LiteFile(random_bundle("qkv-bias") / file)
    for weight in graph_weights(source.config):
        np.testing.assert_array_equal(
            opened.constant(weight.name, weight.shape), weight.make(source.tensor(weight.source)), err_msg=weight.name
        )
    assert "nothing" not in opened


@lite
def test_a_damaged_graph_is_refused_and_nothing_worse(tmp_path: Path) -> None:
    """Bytes of the tables are overwritten and ends cut off: every read is an array of the right shape or this error."""
    original = (random_bundle("mha") / "full.ms").read_bytes()
    for beside in random_bundle("mha").glob("*.msw"):
        shutil.copy(beside, tmp_path)
    wanted = graph_weights(CASES["mha"].config)
    rng = np.random.default_rng(0)
    path = tmp_path / "full.ms"
    refused = 0
    for round_ in range(100):
        content = bytearray(original[: rng.integers(0, len(original))] if round_ % 4 == 0 else original)
        for place in rng.integers(0, max(1, min(len(content), 2000)), 8):
            content[place : place + 1] = bytes([rng.integers(0, 256)])
        path.write_bytes(content)
        try:
            opened = LiteFile(path)
            for weight in wanted:
                assert opened.constant(weight.name, weight.shape).shape == weight.shape
        except CorruptBundleError as error:
            refused += 1
            assert "full.ms is no graph" in str(error) or "cannot be read" in str(error)
    assert refused > 50


@lite
def test_a_graph_of_another_model_is_refused_by_name() -> None:
    opened = LiteFile(random_bundle("mha") / "full.ms")
    with pytest.raises(
        CorruptBundleError, match=r"the constant embedding has shape \[512, 64\] .* expected \[512, 65\]"
    ):
        opened.constant("embedding", (512, 65))
    with pytest.raises(CorruptBundleError, match=r"it has no constant layers\.2.input_norm\.weight"):
        opened.constant("layers.2.input_norm.weight", (64,))


@native
def test_packed_weights_are_the_weights() -> None:
    source = SyntheticSource(CASES["qkv-bias"].config, SEED)
    packed = PackedSource(random_bundle("qkv-bias") / "weights-f32.safetensors", source.config)
    assert packed.tensor_names() == source.tensor_names()
    assert not packed.quantised
    for name in source.tensor_names():
        np.testing.assert_array_equal(packed.tensor(name), source.tensor(name), err_msg=name)
    np.testing.assert_array_equal(packed.rows("embed_tokens", 5, 37), source.tensor("embed_tokens")[5:37])


@native
def test_packed_weights_that_are_damaged_or_another_models_are_refused(tmp_path: Path) -> None:
    config = CASES["mha"].config
    path = tmp_path / "weights.safetensors"
    shutil.copy(random_bundle("mha") / "weights-f32.safetensors", path)
    for changes, said in (
        ({"layers": 1}, "it holds 20 tensors, the model has 11"),
        ({"layers": 3}, "it has no tensor layers.2.input_norm"),
        ({"hidden_size": 96}, r"embed_tokens.f32 is uint8 \[32, 4096\], expected uint8 \[32, 6144\]"),
    ):
        with pytest.raises(CorruptBundleError, match=said):
            PackedSource(path, dataclasses.replace(config, **changes))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptBundleError, match="holds no packed weights"):
        PackedSource(path, config)
