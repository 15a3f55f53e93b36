"""From a checkpoint to two verified graph files. See `build_graphs`."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from skywork_rt.checkpoints.model import ModelConfig, Source
from skywork_rt.errors import CapacityError, UnsupportedError
from skywork_rt.export.graph import weights
from skywork_rt.export.graph.child import build_in_mindspore
from skywork_rt.export.graph.contract import CONTRACTS, FLAVOUR, PRECISION, Contract
from skywork_rt.export.graph.convert import CONVERTER_BYTES_PER_WEIGHT_BYTE, convert
from skywork_rt.export.graph.graph_file import GraphFile, GraphFormat
from skywork_rt.export.graph.mindir import require_mindspore
from skywork_rt.export.graph.shared_weights import share_weights
from skywork_rt.export.graph.tools import LiteTools, find_tools
from skywork_rt.export.graph.verify import compute_sequences, verify_graph
from skywork_rt.support.host import available_memory
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["build_graphs", "check_graph_format", "check_memory", "graph_bytes"]

_NAMES: dict[Contract, str] = {"host-cache/full": "full", "host-cache/incremental": "incremental"}
_DATA = "weights/data_0"
_SHARED = "graphs.msw"
_SPARE_BYTES = 64 << 20
_MOST_MINDIR_BYTES = (2 << 30) - _SPARE_BYTES
"""A MindIR is one protobuf message with the weights in it, and such a message has less than 2 GiB."""


def build_graphs(
    source: Source,
    workdir: Path,
    progress: Progress = no_progress,
    *,
    contracts: Sequence[Contract] = CONTRACTS,
    verify: bool = True,
    graph_format: GraphFormat = "ms",
) -> list[GraphFile]:
    """Writes the graphs of `source` into `workdir`, and nothing else there: one for each of `contracts`, in that order.

    Graphs in Lite's own format share one file of weights; each MindIR has its own weights in it.

    Raises UnsupportedError without MindSpore, BackendUnavailableError without Lite, CapacityError when disk or memory
    will not do, CheckpointError for a damaged tensor, and BackendError when a step fails or a graph does not compute
    what the checkpoint says.
    """
    require_mindspore()
    check_graph_format(graph_format, source.config)
    tools = find_tools()
    parameters = weights.graph_weights(source.config)
    _check_room(workdir, sum(weight.nbytes for weight in parameters), len(contracts))
    with tempfile.TemporaryDirectory(dir=workdir, prefix="graphs-") as scratch:
        _write_structure(source.config, parameters, Path(scratch), contracts, progress)
        _write_weights(source, parameters, Path(scratch), progress)
        files = _convert(tools, Path(scratch), workdir, contracts, graph_format, progress)
    if graph_format == "ms":
        files = _share(files, workdir)
    if verify:
        graphs = {contract: workdir / file.file for contract, file in zip(contracts, files, strict=True)}
        _verify(tools, source, graphs, progress)
    return files


def _check_room(workdir: Path, weight_bytes: int, graphs: int) -> None:
    """Refuses a model that this machine cannot export, before any work."""
    gib = 2.0**30
    needed, free = weight_bytes * (graphs + 1) + _SPARE_BYTES, shutil.disk_usage(workdir).free
    if free < needed:
        raise CapacityError(
            f"{graphs} float32 graphs of {weight_bytes / gib:.2f} GiB and their weights need {needed / gib:.2f} GiB of "
            f"disk; {free / gib:.2f} GiB are free in the output's file system"
        )
    _check_memory(weight_bytes)


def graph_bytes(config: ModelConfig) -> int:
    """Bytes of the weights of a model's graphs, nearly what these add to a bundle; a tied head is there twice."""
    return sum(weight.nbytes for weight in weights.graph_weights(config))


def check_graph_format(graph_format: GraphFormat, config: ModelConfig) -> None:
    """Raises UnsupportedError, with the numbers, for a model whose weights a file of this format cannot hold."""
    held = graph_bytes(config)
    if graph_format == "mindir" and held > _MOST_MINDIR_BYTES:
        raise UnsupportedError(
            f"a MindIR holds its float32 weights in one protobuf message of less than 2 GiB, and this model has "
            f"{held / 2.0**30:.2f} GiB of them; --graph-format ms (without --layout mindformers) has no such bound, "
            "and neither have the weights of the native backend"
        )


def check_memory(config: ModelConfig) -> None:
    """Raises CapacityError, with the numbers, for a model that Lite's converter cannot have the memory for."""
    _check_memory(graph_bytes(config))


def _check_memory(weight_bytes: int) -> None:
    gib = 2.0**30
    needed, free = round(weight_bytes * CONVERTER_BYTES_PER_WEIGHT_BYTE) + _SPARE_BYTES, available_memory()
    if free < needed:
        raise CapacityError(
            f"Lite's converter needs about {needed / gib:.1f} GiB of memory for {weight_bytes / gib:.2f} GiB of "
            f"float32 weights; {free / gib:.1f} GiB are available. Export for the native backend instead"
        )


def _write_structure(
    config: ModelConfig,
    parameters: list[weights.GraphWeight],
    scratch: Path,
    contracts: Sequence[Contract],
    progress: Progress,
) -> None:
    """Has a child process build the graphs in MindSpore, without weights."""
    places = weights.lay_out(parameters)
    request = {
        "config": config.to_json(),
        "location": _DATA,
        "places": {name: dataclasses.astuple(place) for name, place in places.items()},
        "graphs": [{"contract": contract, "path": str(_graph_path(scratch, contract))} for contract in contracts],
    }
    build_in_mindspore("skywork_rt.export.graph.worker", request, contracts, scratch, progress)


def _graph_path(scratch: Path, contract: Contract) -> Path:
    return scratch / f"{_NAMES[contract]}.mindir"


def _write_weights(source: Source, parameters: list[weights.GraphWeight], scratch: Path, progress: Progress) -> None:
    path = scratch / _DATA
    path.parent.mkdir()
    try:
        weights.write_data(source, parameters, weights.lay_out(parameters), path, progress)
    except OSError as error:
        raise CapacityError(f"the graphs' weights could not be written: {error.strerror or error}") from error


def _convert(
    tools: LiteTools,
    scratch: Path,
    workdir: Path,
    contracts: Sequence[Contract],
    graph_format: GraphFormat,
    progress: Progress,
) -> list[GraphFile]:
    stage = "optimising graphs"
    files = []
    progress(stage, 0, len(contracts))
    for done, contract in enumerate(contracts, start=1):
        target = workdir / f"{_NAMES[contract]}.{graph_format}"
        convert(tools, _graph_path(scratch, contract), target)
        files.append(GraphFile(target.name, contract, FLAVOUR, PRECISION))
        progress(stage, done, len(contracts))
    return files


def _share(files: list[GraphFile], workdir: Path) -> list[GraphFile]:
    """Gives several graphs one file of weights; a single one keeps them, or the file that the converter made."""
    if len(files) > 1:
        share_weights([workdir / graph.file for graph in files], workdir / _SHARED)
        return [dataclasses.replace(graph, weights=_SHARED) for graph in files]
    own = Path(files[0].file).with_suffix(".msw").name
    return [dataclasses.replace(files[0], weights=own)] if (workdir / own).exists() else files


def _verify(tools: LiteTools, source: Source, graphs: Mapping[Contract, Path], progress: Progress) -> None:
    stage = "verifying graphs"
    total = len(graphs) + 1
    progress(stage, 0, total)
    sequences = compute_sequences(source)
    progress(stage, 1, total)
    for done, (contract, path) in enumerate(graphs.items(), start=2):
        verify_graph(tools, path, contract, source.config, sequences)
        progress(stage, done, total)
