"""From a checkpoint to the two device-cache graphs with their weights. See `build_graphs`."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from pathlib import Path

from skywork_rt.checkpoints.model import ModelConfig, Source
from skywork_rt.errors import CapacityError
from skywork_rt.export.device_cache import ROLES, DeviceForm, Role, graph_entry
from skywork_rt.export.graph.ascend.ge_config import context_cfg
from skywork_rt.export.graph.ascend.verify import verify_graphs
from skywork_rt.export.graph.ascend.weights import FOLDER, Layout, cache_parameters, device_weights, lay_out, write_data
from skywork_rt.export.graph.child import build_in_mindspore
from skywork_rt.export.graph.graph_file import GraphFile
from skywork_rt.export.graph.mindir import require_mindspore
from skywork_rt.support.host import available_memory
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["build_graphs", "check_memory", "config_files", "data_files", "written_bytes"]

_log = logging.getLogger("skywork_rt.export")

_DIRECTORIES: dict[Role, str] = {"full": "mindir_full_checkpoint", "incremental": "mindir_inc_checkpoint"}
_GRAPH = "rank_0_graph.mindir"
_CONTEXT = "context.cfg"
_MEMORY = 3 << 30
"""What the child takes: MindSpore and the graphs of a model of some hundred layers; no weights come to it."""


def build_graphs(
    source: Source,
    workdir: Path,
    form: DeviceForm,
    progress: Progress = no_progress,
    *,
    verify: bool = True,
) -> list[GraphFile]:
    """Writes a directory a graph into `workdir`, under MindFormers' names: graph, weights and context.cfg.

    Both directories have all of the weights; on one file system they are the same files (hard links). Raises
    UnsupportedError without MindSpore or for a weight that float16 cannot hold, CapacityError when disk or memory will
    not do, CheckpointError for a damaged tensor, and BackendError when a step fails or a graph does not compute what
    the checkpoint says.
    """
    require_mindspore()
    check_memory()
    layout = lay_out(source.config, form)
    for role in ROLES:
        (workdir / _DIRECTORIES[role]).mkdir()
    _write_structure(source.config, form, layout, workdir, progress)
    _write_weights(source, form, layout, workdir, progress)
    for role in ROLES:
        (workdir / _DIRECTORIES[role] / _CONTEXT).write_text(context_cfg(role, form), encoding="utf-8")
    _report_cache(source.config, form, layout)
    if verify:
        verify_graphs(source, form, {role: workdir / _DIRECTORIES[role] / _GRAPH for role in ROLES}, progress)
    return [graph_entry(form, role, f"{_DIRECTORIES[role]}/{_GRAPH}") for role in ROLES]


def written_bytes(config: ModelConfig, form: DeviceForm) -> int:
    """Bytes that an export writes where files can be linked; elsewhere the weights are there twice."""
    layout = lay_out(config, form)
    return sum(size for location, size in layout.sizes.items() if location != layout.zeros)


def check_memory() -> None:
    """Raises CapacityError, with the numbers, when MindSpore would not find memory."""
    free = available_memory()
    if free < _MEMORY:
        raise CapacityError(
            f"building graphs in MindSpore needs about {_MEMORY / 2**30:.1f} GiB of memory; {free / 2**30:.1f} GiB are "
            "available"
        )


def _write_structure(config: ModelConfig, form: DeviceForm, layout: Layout, workdir: Path, progress: Progress) -> None:
    """Has a child process build the graphs in MindSpore, without weights."""
    request = {
        "config": config.to_json(),
        "form": form.to_json(),
        "places": {name: dataclasses.astuple(place) for name, place in layout.places.items()},
        "graphs": {role: str(workdir.absolute() / _DIRECTORIES[role] / _GRAPH) for role in ROLES},
    }
    scratch = workdir / "scratch"  # MindSpore leaves files of its own behind
    scratch.mkdir()
    build_in_mindspore("skywork_rt.export.graph.ascend.worker", request, ROLES, scratch, progress)
    shutil.rmtree(scratch)


def _write_weights(source: Source, form: DeviceForm, layout: Layout, workdir: Path, progress: Progress) -> None:
    first, *others = (workdir / _DIRECTORIES[role] for role in ROLES)
    try:
        write_data(source, device_weights(source.config, form), layout, first, progress)
        for other in others:
            _share(first, other, layout)
    except OSError as error:
        raise CapacityError(f"the graphs' weights could not be written: {error.strerror or error}") from error


def _share(first: Path, other: Path, layout: Layout) -> None:
    (other / FOLDER).mkdir()
    for location in layout.sizes:
        try:
            os.link(first / location, other / location)
        except OSError:
            shutil.copyfile(first / location, other / location)


def _report_cache(config: ModelConfig, form: DeviceForm, layout: Layout) -> None:
    names, zeros = cache_parameters(config, form), layout.sizes[layout.zeros]
    _log.info(
        "the cache's %d Parameters, %.2f GB on the device, share %.1f MB of zeros in the file, which is a hole",
        len(names),
        len(names) * zeros / 1e9,
        zeros / 1e6,
    )


def data_files(config: ModelConfig, form: DeviceForm) -> list[str]:
    """Files of weights that the graphs name, as they lie in the directory that `build_graphs` wrote into."""
    return [f"{_DIRECTORIES[role]}/{location}" for role in ROLES for location in lay_out(config, form).sizes]


def config_files() -> list[str]:
    """The context.cfg of each graph."""
    return [f"{_DIRECTORIES[role]}/{_CONTEXT}" for role in ROLES]
