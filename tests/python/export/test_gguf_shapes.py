"""GGUF files of every architecture and rope scaling give the logits of another runtime of this format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf_shapes import IDS, SHAPES, write_shape

from skywork_rt.checkpoints.open import open_source
from skywork_rt.export.graph.reference import ReferenceLlama

GOLDEN = np.load(Path(__file__).with_name("golden") / "gguf_shapes.npz")
#: The other runtime keeps keys and values in float16.
TOLERANCE = 1e-3


@pytest.mark.parametrize("name", SHAPES)
def test_a_file_gives_the_logits_of_another_runtime(name: str, tmp_path: Path) -> None:
    logits = ReferenceLlama(open_source(write_shape(name, tmp_path))).forward(IDS)[:, GOLDEN["columns"]]
    expected = GOLDEN[name]
    assert np.abs(logits - expected).max() < TOLERANCE * np.ptp(expected)


def test_what_sets_the_files_apart_is_more_than_the_tolerance() -> None:
    for name, (architecture, parts, metadata) in SHAPES.items():
        if metadata:
            assert (architecture, parts) == ("llama", {})
            assert np.abs(GOLDEN[name] - GOLDEN["llama"]).max() > 10 * TOLERANCE * np.ptp(GOLDEN["llama"])
    apart = np.abs(GOLDEN["yarn"] - GOLDEN["yarn-no-original"]).max()
    assert apart > 10 * TOLERANCE * np.ptp(GOLDEN["yarn"])
