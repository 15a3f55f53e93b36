"""Graphs whose weights lie in one file compute what they did, wherever the weights came from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from built_model import BuiltModel

from skywork_rt.errors import BackendError
from skywork_rt.export.graph.contract import FULL, INCREMENTAL
from skywork_rt.export.graph.shared_weights import share_weights
from skywork_rt.export.graph.tools import LiteTools
from skywork_rt.export.graph.verify import compute_sequences, verify_graph


@pytest.mark.slow
def test_weights_that_are_in_another_file_already_move_on(built: BuiltModel, tools: LiteTools, tmp_path: Path) -> None:
    """As those of graphs over 2 GiB do, which the converter gives a file each."""
    source, folder = built("gqa")
    for name in ("full", "incremental"):
        shutil.copy(folder / f"{name}.ms", tmp_path)
        content = (tmp_path / f"{name}.ms").read_bytes()
        assert content.count(b"graphs.msw") > 5
        (tmp_path / f"{name}.ms").write_bytes(content.replace(b"graphs.msw", f"{name[:6]:_<6}.msw".encode()))
        shutil.copy(folder / "graphs.msw", tmp_path / f"{name[:6]:_<6}.msw")
    graphs = [tmp_path / "full.ms", tmp_path / "incremental.ms"]
    share_weights(graphs, tmp_path / "one.msw")
    assert (tmp_path / "one.msw").stat().st_size == (folder / "graphs.msw").stat().st_size
    for other in ("full__.msw", "increm.msw"):
        (tmp_path / other).unlink()
    sequences = compute_sequences(source)
    for graph, contract in zip(graphs, (FULL, INCREMENTAL), strict=True):
        verify_graph(tools, graph, contract, source.config, sequences)


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ms").write_bytes(b"0123456789" * 10)
    with pytest.raises(BackendError, match=r"a\.ms is no graph of MindSpore Lite's"):
        share_weights([tmp_path / "a.ms"], tmp_path / "w.msw")
