"""The directories and file names that MindFormers' export writes, each of them a bundle of ours.

OUT/mindir_full_checkpoint/rank_0_graph.mindir is the graph that reads a prompt (and can do every step),
OUT/mindir_inc_checkpoint/rank_0_graph.mindir the one for single tokens; beside each lies its model.json, and beside the
first the tokenizer too. The names are those of `BaseTrainer.export_process` in MindFormers 1.0.2.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skywork_rt.checkpoints.checkpoint import Checkpoint
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.export.bundle_writer import BundleWriter
from skywork_rt.export.small_files import write_small_files
from skywork_rt.support.atomic_directory import AtomicDirectory
from skywork_rt.support.stages import Progress

if TYPE_CHECKING:
    from skywork_rt.export.graph.contract import Contract

__all__ = ["FOLDERS", "GRAPH_FILE", "write_mindformers_layout"]

FOLDERS: Mapping[Contract, str] = {
    "host-cache/full": "mindir_full_checkpoint",
    "host-cache/incremental": "mindir_inc_checkpoint",
}
"""By the contract of the graph in it, the full one first."""
GRAPH_FILE = "rank_0_graph.mindir"


def write_mindformers_layout(
    checkpoint: Checkpoint,
    folders: Sequence[Path],
    description: Mapping[str, Any],
    texts: tuple[TokenizerFiles | None, Mapping[str, str]],
    *,
    overwrite: bool,
    verify: bool,
    needed_bytes: int,
    progress: Progress,
) -> None:
    """Writes `folders`, that of the full graph and perhaps that of the other one. Each appears whole.

    `texts`: the tokenizer, and its chat templates that cannot be used.
    """
    from skywork_rt.export.graph import build_graphs

    with contextlib.ExitStack() as stack:
        writers = {}
        for contract, folder in zip(FOLDERS, folders, strict=False):
            directory = stack.enter_context(AtomicDirectory(folder, overwrite=overwrite))
            directory.require_space(needed_bytes)
            writers[contract] = BundleWriter(directory, checkpoint.config, description)
        full = writers["host-cache/full"]
        write_small_files(full, checkpoint, *texts)
        work = full.path / "work"
        work.mkdir()
        contracts = list(writers)
        graphs = build_graphs(checkpoint, work, progress, contracts=contracts, verify=verify, graph_format="mindir")
        for writer, graph in zip(writers.values(), graphs, strict=True):
            (work / graph.file).rename(writer.path / GRAPH_FILE)
            writer.add_graph(dataclasses.replace(graph, file=GRAPH_FILE))
        shutil.rmtree(work)
        for contract in reversed(contracts):  # who sees the full graph's folder finds the other one there
            writers[contract].finish(progress)
