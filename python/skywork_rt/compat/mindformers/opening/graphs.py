"""A pair of graph files as one model: what InferConfig's two paths name.

Each file lies in a bundle: beside it is the model.json that lists it (`skywork-rt export --layout mindformers` writes
them so). A bundle of links to the files of both is made in a temporary directory, and opened.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt.bundle.info import BundleInfo
from skywork_rt.compat.mindformers.opening.model import OpenedModel, open_bundle
from skywork_rt.errors import BundleNotFoundError, InvalidArgumentError, UnsupportedError

__all__ = ["bundle_of_full_graph", "open_graphs"]

_FULL, _INCREMENTAL = "host-cache/full", "host-cache/incremental"
_KEPT = ("vocabulary", "tokenizer", "generation_config")


@dataclass(frozen=True)
class _Graph:
    """A graph file: its bundle, what model.json says of it, and its place there."""

    bundle: BundleInfo
    entry: Mapping[str, Any]

    @property
    def file(self) -> str:
        return str(self.entry["file"])


def open_graphs(full: Path, incremental: Path | None, max_length: int | None) -> OpenedModel:
    """The model of both graphs, or of the full one alone, on MindSpore Lite.

    Raises UnsupportedError for graphs in MindFormers' own contract, InvalidArgumentError for graphs of two models.
    """
    graphs = [_graph(full, _FULL, "InferConfig: prefill_model_path")]
    if incremental is not None:
        graphs.append(_graph(incremental, _INCREMENTAL, "InferConfig: increment_model_path"))
        _check_pair(graphs[0], graphs[1], full, incremental)
    view = tempfile.TemporaryDirectory(prefix="skywork_rt-")
    try:
        _write_view(Path(view.name), graphs)
        return open_bundle(Path(view.name), keep=view, max_length=max_length, backend="lite")
    except BaseException:
        view.cleanup()
        raise


def bundle_of_full_graph(path: Path, option: str) -> Path:
    """The bundle that a full graph lies in. `option`: where the path was given, for messages. Raises as `open_graphs`
    does."""
    return _graph(path, _FULL, option).bundle.directory


def _graph(path: Path, contract: str, option: str) -> _Graph:
    if not path.is_file():
        raise InvalidArgumentError(f"{option} is {path}, which is no file; give a graph, or a .ckpt")
    try:
        bundle = BundleInfo.open(path.absolute().parent)
    except BundleNotFoundError:
        raise UnsupportedError(
            f"{option}: beside {path} is no model.json, so it is a graph in MindFormers' own contract, which runs "
            "on Ascend alone and comes with this project's support of Ascend. Here, export the checkpoint that it was "
            "made of: skywork-rt export CKPT OUT --layout mindformers, or give the .ckpt itself in its place"
        ) from None
    listed = [graph for graph in bundle.manifest.get("graphs") or [] if graph.get("file") == path.name]
    if not listed:
        raise InvalidArgumentError(f"{option} is {path}, which the model.json beside it does not list")
    if listed[0].get("contract") != contract:
        raise InvalidArgumentError(
            f"{option} is {path}, a graph {listed[0].get('contract')}, but must be {contract}: are the "
            "two paths exchanged?"
        )
    return _Graph(bundle, listed[0])


def _check_pair(full: _Graph, other: _Graph, first: Path, second: Path) -> None:
    for section in ("model", "source"):
        if full.bundle.section(section) != other.bundle.section(section):
            raise InvalidArgumentError(
                f"InferConfig: {first} and {second} are graphs of two models (their model.json differ in {section!r}); "
                "export both in one go"
            )


def _write_view(folder: Path, graphs: list[_Graph]) -> None:
    full = graphs[0].bundle
    manifest = {key: value for key, value in full.manifest.items() if key != "weights"}
    files: dict[str, Any] = {}
    for name, entry in full.section("files").items():
        if entry.get("role") in _KEPT:
            _link(folder / name, full.directory / name)
            files[name] = entry
    entries = []
    for graph in graphs:
        name = str(graph.entry["contract"]).replace("/", "-") + Path(graph.file).suffix
        _take(folder, files, graph.bundle, graph.file, name)
        weights = graph.entry.get("weights")
        if weights is not None:
            _take(folder, files, graph.bundle, str(weights), str(weights))
        entries.append({**graph.entry, "file": name})
    manifest.update(files=files, graphs=entries)
    (folder / "model.json").write_text(json.dumps(manifest), encoding="utf-8")


def _take(folder: Path, files: dict[str, Any], bundle: BundleInfo, file: str, name: str) -> None:
    entry = bundle.section("files").get(file)
    if not isinstance(entry, dict) or Path(file).name != file:
        raise InvalidArgumentError(f"InferConfig: {bundle.directory / 'model.json'} does not list the file {file!r}")
    if name in files:
        if files[name] != entry:
            raise InvalidArgumentError(f"InferConfig: the two graphs have different files of the name {name!r}")
        return
    _link(folder / name, bundle.directory / file)
    files[name] = entry


def _link(link: Path, target: Path) -> None:
    link.symlink_to(target.absolute())
