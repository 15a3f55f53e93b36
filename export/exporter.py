"""From a checkpoint to a bundle: the order of the steps, and what is refused before the first of them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skywork_rt.checkpoints.open import Checkpoint, open_source
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.export.bundle_writer import BundleWriter, check_output
from skywork_rt.export.quantise import DEFAULT_WEIGHTS, WEIGHTS, largest_weights_bytes, quantise_weights
from skywork_rt.export.targets import TARGETS, choose_targets
from skywork_rt.export.template_check import check_template
from skywork_rt.support.atomic_directory import AtomicDirectory
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["TARGETS", "WEIGHTS", "export"]

_log = logging.getLogger("skywork_rt.export")

_FLOAT_WEIGHTS = ("int8",)
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
    overwrite: bool = False,
    progress: Progress | None = None,
    verify: bool = True,
) -> Path:
    """Writes the bundle `out` from `source` and returns its path.

    Args:
        source: a GGUF file, a Hugging Face directory, or a source that is already open (`SyntheticSource`).
        out: the bundle's directory, which must not exist unless `overwrite` is set. It appears when it is complete;
            after any failure nothing of it is left.
        targets: any of `TARGETS`. None means native, and lite too where its graphs add at most `LITE_BYTES` and
            MindSpore is installed; a warning is logged when lite is left out.
        weights: any of `WEIGHTS`, for the target native; none given means int8 for a checkpoint in floats, and
            `DEFAULT_WEIGHTS` for one that is quantised already.
        max_length: tokens of prompt and output together; None takes what the model was made for.
        overwrite: replace an existing bundle, in one step, when the new one is complete.
        progress: called as the steps proceed.
        verify: run each graph once and compare it with the source's weights before the bundle gets its name.

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
    check_output(out, overwrite)
    checkpoint = _open(source, max_length)
    tokenizer = checkpoint.tokenizer()
    unusable = _unusable_templates(tokenizer)
    targets = choose_targets(targets, checkpoint.config)
    chosen = tuple(weights) or (_default_weights(checkpoint) if "native" in targets else ())
    with AtomicDirectory(out, overwrite=overwrite) as directory:
        directory.require_space(_needed_bytes(checkpoint, "lite" in targets, chosen))
        writer = BundleWriter(directory, checkpoint.config, _describe(checkpoint, progress))
        _write_small_files(writer, checkpoint, tokenizer, unusable)
        for name in chosen:
            _write_weights(writer, checkpoint, name, progress)
        if "lite" in targets:
            _write_graphs(writer, checkpoint, progress, verify)
        writer.finish(progress)
    return out


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


def _open(source: Path | str | Checkpoint, max_length: int | None) -> Checkpoint:
    if isinstance(source, Path | str):
        return open_source(Path(source), max_length)
    if max_length is not None:
        raise InvalidArgumentError("max_length is chosen when a source is opened; this one is already open")
    return source


def _default_weights(checkpoint: Checkpoint) -> tuple[str, ...]:
    return _FLOAT_WEIGHTS if checkpoint.in_floats else DEFAULT_WEIGHTS


def _unusable_templates(tokenizer: TokenizerFiles | None) -> dict[str, str]:
    """Names of chat templates that cannot be used, with the reason; the bundle does without them."""
    if tokenizer is None:
        return {}
    tried = {
        name: check_template(name, text, tokenizer.special_tokens) for name, text in tokenizer.chat_templates.items()
    }
    return {name: reason for name, reason in tried.items() if reason is not None}


def _needed_bytes(checkpoint: Checkpoint, lite: bool, weights: Sequence[str]) -> int:
    from skywork_rt.export.graph import graph_bytes

    native = sum(largest_weights_bytes(checkpoint.config, name) for name in weights)
    graphs = 3 * graph_bytes(checkpoint.config) if lite else 0  # two that do not share yet, and what they are made of
    return native + graphs + _SPARE_BYTES


def _describe(checkpoint: Checkpoint, progress: Progress) -> dict[str, Any]:
    return {"kind": checkpoint.kind, "name": checkpoint.name, "sha256": checkpoint.sha256(progress)}


def _write_small_files(
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


def _write_graphs(writer: BundleWriter, checkpoint: Checkpoint, progress: Progress, verify: bool) -> None:
    """Graphs are made in a directory of their own, so that what their steps leave behind never reaches the bundle."""
    from skywork_rt.export.graph import build_graphs

    work = writer.path / "work"
    work.mkdir()
    graphs = build_graphs(checkpoint, work, progress, verify=verify)
    for name in {name for graph in graphs for name in (graph.file, graph.weights) if name is not None}:
        (work / name).rename(writer.path / name)
    for graph in graphs:
        writer.add_graph(graph)
    shutil.rmtree(work)
