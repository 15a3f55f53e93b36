"""Random models: the same numbers for ever, any row without the others."""

from __future__ import annotations

import hashlib
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from checkpoints import SEED, small, write_hf

from skywork_rt.checkpoints.open import open_source
from skywork_rt.checkpoints.synthetic.presets import preset
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import InvalidArgumentError


def test_weights_of_a_seed_never_change() -> None:
    # Golden files of other tests store the seed alone.
    digest = hashlib.sha256()
    source = SyntheticSource(preset("tiny"), 0)
    for name in source.tensor_names():
        digest.update(source.tensor(name).astype("<f4").tobytes())
    assert digest.hexdigest() == "46e601627084bcf52850ae98758c6fbf06096c4197c4a1bd8149c8d34ba9800b"


def test_rows_equal_the_whole_tensor() -> None:
    source = SyntheticSource(preset("llama-2-7b"), 1)
    block = source.rows("embed_tokens", 0, 200)
    np.testing.assert_array_equal(source.rows("embed_tokens", 63, 129), block[63:129])


def test_a_large_model_needs_little_memory() -> None:
    source = SyntheticSource(preset("skywork-13b"))
    tracemalloc.start()
    rows = source.rows("lm_head", 65000, 65519)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.shape == (519, 4608)
    assert peak < 64e6


def test_matrices_norms_and_biases_have_the_promised_spread() -> None:
    source = SyntheticSource(small(hidden_size=512, head_dim=128, qkv_bias=True), 5)
    assert source.tensor("embed_tokens").std() * 512**0.5 == pytest.approx(1, rel=0.01)
    assert source.tensor("norm").mean() == pytest.approx(1, abs=0.02)
    assert source.tensor("layers.0.q_bias").std() == pytest.approx(0.1, rel=0.1)


def test_seeds_and_names_give_different_numbers() -> None:
    one, other = SyntheticSource(preset("tiny"), 0), SyntheticSource(preset("tiny"), 1)
    assert not np.array_equal(one.tensor("norm"), other.tensor("norm"))
    assert not np.array_equal(one.tensor("layers.0.q_proj"), one.tensor("layers.1.q_proj"))


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'skywork-14b'; known are skywork-13b, llama-2-7b, .*, tiny"):
        preset("skywork-14b")


def test_a_written_directory_holds_the_weights_of_the_source(tmp_path: Path) -> None:
    config = small(tied_embeddings=False)
    written, made = open_source(write_hf(tmp_path / "model", config=config)), SyntheticSource(config, SEED)
    for name in made.tensor_names():
        np.testing.assert_array_equal(written.tensor(name), made.tensor(name))


def test_sources_survive_pickling(tmp_path: Path) -> None:
    source = open_source(write_hf(tmp_path / "model"))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.config == source.config
    np.testing.assert_array_equal(copy.tensor("norm"), source.tensor("norm"))
