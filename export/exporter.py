"""From a checkpoint to a bundle: the order of the steps, and what is refused before the first of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skywork_rt.checkpoints.open import Checkpoint, open_source
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.export.bundle_writer import BundleWriter, check_output
from skywork_rt.export.quantise import (
    DEFAULT_WEIGHTS,
    GGUF,
    WEIGHTS,
    gguf_weights_bytes,
    largest_weights_bytes,
    quantise_weights,
)
from skywork_rt.export.small_files import unusable_templates, write_small_files
from skywork_rt.export.targets import TARGETS, choose_targets
from skywork_rt.support.atomic_directory import AtomicDirectory
from skywork_rt.support.stages import Progress, no_progress

if TYPE_CHECKING:
    from skywork_rt.export.device_cache import DeviceForm
    from skywork_rt.export.graph.ascend import AscendOptions
    from skywork_rt.export.graph.graph_file import GraphFormat

__all__ = ["GRAPHS", "LAYOUTS", "TARGETS", "WEIGHTS", "export"]

GRAPHS = ("both", "full")
"""What the argument `graphs` may be."""

LAYOUTS = ("bundle", "mindformers")
"""What the argument `layout` may be."""

_SPARE_BYTES = 16 << 20


def export(
    source: Path | str | Checkpoint,
    out: Path | str,
    *,
    targets: Sequence[str] | None = None,
    weights: Sequence[str] = (),
    max_length: int | None = None,
    config: Path | str | None = None,
    tokenizer: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    verify: bool = True,
    graphs: str = "both",
    graph_format: str | None = None,
    layout: str = "bundle",
    ascend: AscendOptions | None = None,
) -> Path:
    """Writes the bundle `out` from `source` and returns its path.

    Args:
        source: a GGUF file, a Hugging Face directory, a checkpoint of MindSpore (.ckpt, or .safetensors with
            MindFormers' names), or a source that is already open (`SyntheticSource`).
        out: the bundle's directory, which must not exist unless `overwrite` is set. It appears when it is complete;
            after any failure nothing of it is left.
        targets: any of `TARGETS`. None means native, and lite too where its graphs add at most `LITE_BYTES` and
            MindSpore is installed; a warning is logged when lite is left out.
        weights: any of `WEIGHTS`, for the target native; none given means "gguf", which keeps the weights as they are,
            for a GGUF file, and `DEFAULT_WEIGHTS`, int8, for others.
        max_length: tokens of prompt and output together; None takes what the model was made for.
        config: of a checkpoint of MindSpore, config.json or a MindFormers YAML; None takes the one beside it.
        tokenizer: of a checkpoint of MindSpore, tokenizer.json, tokenizer.model or a directory with one; None takes the
            one beside it.
        overwrite: replace an existing bundle, in one step, when the new one is complete.
        progress: called as the steps proceed.
        verify: run each graph once and compare it with the source's weights before the bundle gets its name.
        graphs: for the target lite, "both", or "full" for the full graph alone (MindFormers' use_past=False): half the
            disk and memory, but a batch of sequences is computed one after the other.
        graph_format: for the target lite, "ms", Lite's own format, which loads faster and whose graphs share their
            weights, or "mindir", files of MindIR, each with the weights in it (less than 2 GiB). Both compute the same.
            None means ms, and mindir for the layout of MindFormers, which has no other.
        layout: "bundle", or "mindformers" for the directories of MindFormers' export in `out`
            (`mindformers_layout`), with the graphs for lite and no weights for native.
        ascend: for the target ascend, the shapes and the form of its graphs; None takes one row of the model's length.
            Its seq_length is the bundle's length, whatever the model was made for.

    Raises CheckpointError for a damaged or incomplete checkpoint, UnsupportedError for a model that the runtime has no
    parts for, InvalidArgumentError for a wrong argument, CapacityError when the disk is too full.
    """
    out, progress = Path(out), progress or no_progress
    if targets is not None:
        _check_choice("target", targets, TARGETS)
    _check_choice("weights", weights, WEIGHTS)
    if weights and targets is not None and "native" not in targets:
        raise InvalidArgumentError(
            f"weights {', '.join(weights)} are for the target native, which is not among targets"
        )
    if graphs not in GRAPHS:
        raise InvalidArgumentError(f"graphs is {graphs!r}, but must be {' or '.join(GRAPHS)}")
    format_ = _check_format(graph_format, layout)
    if layout == "mindformers":
        targets = _check_mindformers(targets, weights)
    for bundle in _bundles(out, layout, graphs):
        check_output(bundle, overwrite)
    length = _length(max_length, targets, ascend)
    checkpoint = _open(source, length if isinstance(source, Path | str) else max_length, config, tokenizer)
    files = checkpoint.tokenizer()
    unusable = unusable_templates(files)
    targets = choose_targets(targets, checkpoint.config)
    form = _plan_ascend(ascend, checkpoint, graphs) if "ascend" in targets else None
    chosen = tuple(weights) or (_default_weights(checkpoint) if "native" in targets else ())
    needed = _needed_bytes(checkpoint, "lite" in targets, chosen, form)
    if graphs != "both" and "lite" not in targets:
        raise InvalidArgumentError(f"graphs is {graphs!r}, but no graphs are made: that takes the target lite (--for)")
    _check_graphs(format_, graph_format, checkpoint, "lite" in targets)
    if layout == "mindformers":
        from skywork_rt.export.mindformers_layout import write_mindformers_layout

        write_mindformers_layout(
            checkpoint,
            _bundles(out, layout, graphs),
            _describe(checkpoint, progress),
            (files, unusable),
            overwrite=overwrite,
            verify=verify,
            needed_bytes=needed,
            progress=progress,
        )
        return out
    with AtomicDirectory(out, overwrite=overwrite) as directory:
        directory.require_space(needed)
        writer = BundleWriter(directory, checkpoint.config, _describe(checkpoint, progress))
        write_small_files(writer, checkpoint, files, unusable)
        for name in chosen:
            _write_weights(writer, checkpoint, name, progress)
        if "lite" in targets:
            _write_graphs(writer, checkpoint, progress, verify, graphs, format_)
        if form is not None:
            _write_device_graphs(writer, checkpoint, form, progress, verify)
        writer.finish(progress)
    return out


def _length(max_length: int | None, targets: Sequence[str] | None, ascend: AscendOptions | None) -> int | None:
    """The bundle's length. Graphs with a device cache have one, which holds for whatever else is in the bundle."""
    if ascend is None:
        return max_length
    if targets is None or "ascend" not in targets:
        raise InvalidArgumentError("options of Ascend's graphs are given, but ascend is not among the targets (--for)")
    if ascend.seq_length is None or max_length is None:
        return ascend.seq_length if max_length is None else max_length
    if max_length != ascend.seq_length:
        raise InvalidArgumentError(
            f"max_length is {max_length} and seq_length {ascend.seq_length}: give one, they are the same length"
        )
    return max_length


def _plan_ascend(ascend: AscendOptions | None, checkpoint: Checkpoint, graphs: str) -> DeviceForm:
    from skywork_rt.export.graph.ascend import AscendOptions, plan_form

    if graphs != "both":
        raise InvalidArgumentError(
            f"graphs is {graphs!r}, but the target ascend takes both: the full graph fills the cache of the other"
        )
    form = plan_form(ascend or AscendOptions(), checkpoint.config)
    if form.positions != checkpoint.config.max_length:
        raise InvalidArgumentError(
            f"seq_length is {form.positions}, but the source was opened with max_length "
            f"{checkpoint.config.max_length}: open it with max_length={form.positions}"
        )
    return form


def _default_weights(checkpoint: Checkpoint) -> tuple[str, ...]:
    return (GGUF,) if checkpoint.kind == "gguf" else DEFAULT_WEIGHTS


def _check_choice(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(given, str):
        raise InvalidArgumentError(f"{what} is the text {given!r}; give a list, as [{given!r}]")
    unknown = [item for item in given if item not in known]
    if unknown:
        raise InvalidArgumentError(f"unknown {what} {unknown[0]!r}; known are {', '.join(known)}")
    if len(set(given)) != len(given):
        raise InvalidArgumentError(f"{what} {', '.join(given)} names one twice")
    if what == "target" and not given:
        raise InvalidArgumentError(f"no target; give one or more of {', '.join(known)}")


def _open(
    source: Path | str | Checkpoint, max_length: int | None, config: Path | str | None, tokenizer: Path | str | None
) -> Checkpoint:
    if isinstance(source, Path | str):
        return open_source(
            Path(source), max_length, Path(config) if config else None, Path(tokenizer) if tokenizer else None
        )
    given = {"max_length": max_length, "config": config, "tokenizer": tokenizer}
    for name, value in given.items():
        if value is not None:
            raise InvalidArgumentError(f"{name} is chosen when a source is opened; this one is already open")
    return source


def _needed_bytes(checkpoint: Checkpoint, lite: bool, weights: Sequence[str], form: DeviceForm | None) -> int:
    from skywork_rt.export.graph import graph_bytes

    native = sum(
        gguf_weights_bytes(checkpoint) if name == GGUF else largest_weights_bytes(checkpoint.config, name)
        for name in weights
    )
    graphs = 3 * graph_bytes(checkpoint.config) if lite else 0  # two that do not share yet, and what they are made of
    return native + graphs + _device_bytes(checkpoint, form) + _SPARE_BYTES


def _device_bytes(checkpoint: Checkpoint, form: DeviceForm | None) -> int:
    if form is None:
        return 0
    from skywork_rt.export.graph.ascend import written_bytes

    return written_bytes(checkpoint.config, form)


def _describe(checkpoint: Checkpoint, progress: Progress) -> dict[str, Any]:
    return {"kind": checkpoint.kind, "name": checkpoint.name, "sha256": checkpoint.sha256(progress)}


def _write_weights(writer: BundleWriter, checkpoint: Checkpoint, name: str, progress: Progress) -> None:
    file = f"weights-{name}.safetensors"
    quantise_weights(checkpoint, name, writer.path / file, progress)
    writer.add_weights(name, file)


def _bundles(out: Path, layout: str, graphs: str) -> list[Path]:
    """The bundles that are written: `out` itself, or the folders in it."""
    if layout != "mindformers":
        return [out]
    from skywork_rt.export.mindformers_layout import FOLDERS

    return [out / folder for folder in FOLDERS.values()][: 2 if graphs == "both" else 1]


def _check_graphs(chosen: GraphFormat, given: str | None, checkpoint: Checkpoint, lite: bool) -> None:
    if lite:
        from skywork_rt.export.graph import check_graph_format

        check_graph_format(chosen, checkpoint.config)
    elif given is not None:
        raise InvalidArgumentError(
            f"graph_format is {given!r}, but no graphs are made: that takes the target lite (--for)"
        )


def _check_format(graph_format: str | None, layout: str) -> GraphFormat:
    from skywork_rt.export.graph.graph_file import GRAPH_FORMATS

    if layout not in LAYOUTS:
        raise InvalidArgumentError(f"layout is {layout!r}, but must be {' or '.join(LAYOUTS)}")
    chosen = graph_format or ("mindir" if layout == "mindformers" else "ms")
    for known in GRAPH_FORMATS:
        if chosen == known and (layout == "bundle" or known == "mindir"):
            return known
    allowed = "mindir in the layout of MindFormers" if layout == "mindformers" else " or ".join(GRAPH_FORMATS)
    raise InvalidArgumentError(f"graph_format is {graph_format!r}, but must be {allowed}")


def _check_mindformers(targets: Sequence[str] | None, weights: Sequence[str]) -> Sequence[str]:
    if weights or (targets is not None and tuple(targets) != ("lite",)):
        raise InvalidArgumentError(
            "the layout of MindFormers has graphs for lite and nothing else: leave out --for and --weights, or export "
            "a bundle (--layout bundle), which has both. --for ascend has MindFormers' folders in every bundle"
        )
    return ("lite",)


def _write_graphs(
    writer: BundleWriter,
    checkpoint: Checkpoint,
    progress: Progress,
    verify: bool,
    which: str,
    graph_format: GraphFormat,
) -> None:
    """Graphs are made in a directory of their own, so that what their steps leave behind never reaches the bundle."""
    from skywork_rt.export.graph import build_graphs
    from skywork_rt.export.graph.contract import CONTRACTS, FULL

    work = writer.path / "work"
    work.mkdir()
    contracts = CONTRACTS if which == "both" else (FULL,)
    graphs = build_graphs(checkpoint, work, progress, contracts=contracts, verify=verify, graph_format=graph_format)
    for name in {name for graph in graphs for name in (graph.file, graph.weights) if name is not None}:
        (work / name).rename(writer.path / name)
    for graph in graphs:
        writer.add_graph(graph)
    shutil.rmtree(work)


def _write_device_graphs(
    writer: BundleWriter, checkpoint: Checkpoint, form: DeviceForm, progress: Progress, verify: bool
) -> None:
    from skywork_rt.export.graph.ascend import build_graphs, config_files, data_files

    for graph in build_graphs(checkpoint, writer.path, form, progress, verify=verify):
        writer.add_graph(graph)
    for name in data_files(checkpoint.config, form):
        writer.add_graph_data(name)
    for name in config_files():
        writer.add_ge_config(name)
