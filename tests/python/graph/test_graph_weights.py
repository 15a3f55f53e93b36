"""The data file of both graphs holds every weight of the checkpoint in the graphs' own form."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from random_models import CASES, SEED

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import CheckpointError
from skywork_rt.export.graph.weights import Location, graph_weights, lay_out, write_data
from skywork_rt.support.stages import no_progress


def written(name: str, path: Path) -> tuple[SyntheticSource, dict[str, Location], bytes]:
    source = SyntheticSource(CASES[name].config, SEED)
    weights = graph_weights(source.config)
    places = lay_out(weights)
    write_data(source, weights, places, path, no_progress)
    return source, places, path.read_bytes()


def at(data: bytes, place: Location) -> Float32Array:
    return np.frombuffer(data, np.float32, place.length // 4, place.offset)


def test_matrices_are_transposed_and_the_query_carries_the_attention_scale(tmp_path: Path) -> None:
    source, places, data = written("qkv-bias", tmp_path / "data_0")
    project = "layers.1.attention.project."
    scale = np.float32(source.config.head_dim**-0.5)
    for part, factor in (("q", scale), ("k", np.float32(1)), ("v", np.float32(1))):
        weight = source.tensor(f"layers.1.{part}_proj")
        np.testing.assert_array_equal(at(data, places[f"{project}{part}.weight"]), (weight * factor).T.ravel())
        bias = source.tensor(f"layers.1.{part}_bias")
        np.testing.assert_array_equal(at(data, places[f"{project}{part}.bias"]), bias * factor)


def test_a_tied_head_is_the_embedding_transposed(tmp_path: Path) -> None:
    source, places, data = written("mha", tmp_path / "data_0")
    embedding = source.tensor("embed_tokens")
    np.testing.assert_array_equal(at(data, places["embedding"]), embedding.ravel())
    np.testing.assert_array_equal(at(data, places["head.weight"]), embedding.T.ravel())


def test_an_untied_head_is_its_own(tmp_path: Path) -> None:
    source, places, data = written("untied", tmp_path / "data_0")
    np.testing.assert_array_equal(at(data, places["head.weight"]), source.tensor("lm_head").T.ravel())


@pytest.mark.parametrize("name", CASES)
def test_tensors_lie_aligned_apart_and_complete(name: str, tmp_path: Path) -> None:
    source, places, data = written(name, tmp_path / "data_0")
    assert data[0] == 1  # little endian
    end = 64
    for place in places.values():
        assert place.offset % 64 == 0
        assert place.offset >= end
        end = place.offset + place.length
    assert end == len(data)
    tied = source.config.vocab_size * source.config.hidden_size if source.config.tied_embeddings else 0
    assert sum(place.length for place in places.values()) == 4 * (source.config.parameter_count() + tied)


def test_a_tensor_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    class Wrong(SyntheticSource):
        def tensor(self, name: str) -> Float32Array:
            tensor = super().tensor(name)
            return tensor[:-1] if name == "layers.0.up_proj" else tensor

    source = Wrong(CASES["mha"].config, SEED)
    weights = graph_weights(source.config)
    with pytest.raises(CheckpointError, match=r"layers.0.up_proj gives float32 \[64, 159\].*\[64, 160\] was expected"):
        write_data(source, weights, lay_out(weights), tmp_path / "data_0", no_progress)


def test_a_full_disk_is_an_error_not_a_short_file() -> None:
    source = SyntheticSource(dataclasses.replace(CASES["mha"].config), SEED)
    weights = graph_weights(source.config)
    with pytest.raises(OSError, match="No space left"):
        write_data(source, weights, lay_out(weights), Path("/dev/full"), no_progress)
