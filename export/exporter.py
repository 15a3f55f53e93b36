"""From a checkpoint to a bundle: the order of the steps, and what is refused before the first of them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skywork_rt.checkpoints.open import Checkpoint, open_source
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
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
from skywork_rt.export.targets import TARGETS, choose_targets
from skywork_rt.export.template_check import check_template
from skywork_rt.support.atomic_directory import AtomicDirectory
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["GRAPHS", "TARGETS", "WEIGHTS", "export", "unusable_templates", "write_small_files"]

GRAPHS = ("both", "full")
"""What the argument `graphs` may be."""

if TYPE_CHECKING:
    from skywork_rt.export.graph.ascend import AscendOptions, DeviceForm

_log = logging.getLogger("skywork_rt.export")

"""What an export of a checkpoint in floats makes unasked. int4 rounds by the range of each group of 32 weights, which
costs a model more than its users expect: it is there for whoever names it."""

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
    check_output(out, overwrite)
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
    with AtomicDirectory(out, overwrite=overwrite) as directory:
        directory.require_space(needed)
        writer = BundleWriter(directory, checkpoint.config, _describe(checkpoint, progress))
        write_small_files(writer, checkpoint, files, unusable)
        for name in chosen:
            _write_weights(writer, checkpoint, name, progress)
        if "lite" in targets:
            _write_graphs(writer, checkpoint, progress, verify, graphs)
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


def unusable_templates(tokenizer: TokenizerFiles | None) -> dict[str, str]:
    """Names of chat templates that cannot be used, with the reason; the bundle does without them."""
    if tokenizer is None:
        return {}
    tried = {
        name: check_template(name, text, tokenizer.special_tokens) for name, text in tokenizer.chat_templates.items()
    }
    return {name: reason for name, reason in tried.items() if reason is not None}


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


def write_small_files(
    writer: BundleWriter, checkpoint: Checkpoint, tokenizer: TokenizerFiles | None, unusable: Mapping[str, str]
) -> None:
    if tokenizer is not None:
        beyond = len(tokenizer.entries) - checkpoint.config.vocab_size
        if beyond > 0:
            _log.warning("the tokenizer has %d tokens more than the model; the runtime refuses text with them", beyond)
        writer.add_tokenizer(tokenizer, unusable)
    generation = checkpoint.generation_config()
    if generation is not None:
        text = json.dumps(generation, indent=2, ensure_ascii=False)
        writer.add_bytes("generation_config.json", "generation_config", text.encode("utf-8"))


def _write_weights(writer: BundleWriter, checkpoint: Checkpoint, name: str, progress: Progress) -> None:
    file = f"weights-{name}.safetensors"
    quantise_weights(checkpoint, name, writer.path / file, progress)
    writer.add_weights(name, file)


def _write_graphs(writer: BundleWriter, checkpoint: Checkpoint, progress: Progress, verify: bool, which: str) -> None:
    """Graphs are made in a directory of their own, so that what their steps leave behind never reaches the bundle."""
    from skywork_rt.export.graph import build_graphs
    from skywork_rt.export.graph.contract import CONTRACTS, FULL

    work = writer.path / "work"
    work.mkdir()
    contracts = CONTRACTS if which == "both" else (FULL,)
    graphs = build_graphs(checkpoint, work, progress, contracts=contracts, verify=verify)
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
