"""Models over 1 GiB and over 2 GiB of float32 export, verify and run on Lite."""

from __future__ import annotations

from pathlib import Path

import pytest

from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.export.graph import build_graphs
from skywork_rt.export.graph.contract import FULL
from skywork_rt.export.graph.tools import LiteTools


@pytest.mark.long
@pytest.mark.parametrize(("layers", "files"), [(4, ["full.ms"]), (10, ["full.ms", "full.msw"])])
def test_a_large_model_exports_and_computes_what_the_checkpoint_says(
    layers: int, files: list[str], tmp_path: Path, mindspore: None, tools: LiteTools
) -> None:
    config = with_changes(
        preset("tiny"),
        layers=layers,
        hidden_size=2048,
        intermediate_size=5632,
        heads=16,
        kv_heads=8,
        head_dim=128,
        vocab_size=32000,
        tied_embeddings=False,
    )
    build_graphs(SyntheticSource(config), tmp_path, contracts=[FULL])  # verifies through Lite
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    weight_bytes = 4 * config.parameter_count()
    assert weight_bytes > (2 if len(files) == 2 else 1) * 2**30
    assert weight_bytes <= sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.01 * weight_bytes
