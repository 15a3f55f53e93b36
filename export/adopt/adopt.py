"""A bundle around the graphs of a MindFormers export: recognised, compared with their YAML, linked or copied."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from skywork_rt.checkpoints.huggingface.config import read_config
from skywork_rt.checkpoints.mindspore.config import read_configuration
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.open_tokenizer import open_tokenizer_files
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import CheckpointError
from skywork_rt.export.adopt.coverage import check_coverage
from skywork_rt.export.adopt.mindir_header import MindIrHeader, read_mindir_header
from skywork_rt.export.adopt.recognise import recognise_form
from skywork_rt.export.bundle_writer import BundleWriter, check_output
from skywork_rt.export.device_cache import ROLES, DeviceForm, Gear, Role, graph_entry
from skywork_rt.export.small_files import unusable_templates
from skywork_rt.support.atomic_directory import AtomicDirectory
from skywork_rt.support.publish import sync
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["adopt"]

_log = logging.getLogger("skywork_rt.export")


def adopt(
    full: Path | str,
    incremental: Path | str,
    out: Path | str,
    *,
    tokenizer: Path | str,
    config: Path | str,
    gears: Sequence[Gear] = (),
    step_gears: Sequence[Gear] = (),
    copy: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Writes the bundle `out` around two graphs as they are and returns its path.

    Args:
        full: the graph that reads prompts, or the directory that it is in (mindir_full_checkpoint).
        incremental: the graph that computes one token, or its directory (mindir_inc_checkpoint).
        out: the bundle's directory, which must not exist unless `overwrite` is set.
        tokenizer: tokenizer.model, tokenizer.json or a directory with one.
        config: the YAML of the export (run_skywork_13b.yaml), or a config.json.
        gears: batch and prompt length of each shape of a full graph that was exported without sizes.
        step_gears: batch and active length of each shape of such an incremental graph; none given means every batch of
            `gears` at every length of them.
        copy: copy the graphs and their weights; otherwise the bundle has symbolic links to where they are.
        progress: called as the steps proceed.

    Nothing of the graphs is run, and MindSpore is not needed. Raises CheckpointError when a file is damaged or the
    graphs, the configuration and the tokenizer do not fit each other, InvalidArgumentError for a wrong argument,
    CapacityError when the disk is too full.
    """
    out, progress = Path(out), progress or no_progress
    check_output(out, overwrite)
    headers = [read_mindir_header(_graph_in(Path(path))) for path in (full, incremental)]
    files = open_tokenizer_files(Path(tokenizer))
    model = _model_of(Path(config), headers[0], files)
    form = recognise_form(headers[0], headers[1], model, gears, step_gears or _grid(gears))
    check_coverage(form)
    model = dataclasses.replace(model, max_length=form.positions)
    with AtomicDirectory(out, overwrite=overwrite) as directory:
        parts = [_parts_of(header) for header in headers]
        if copy:
            directory.require_space(sum(path.stat().st_size for part in parts for path in part.values()))
        writer = BundleWriter(directory, model, {"kind": "mindspore", "name": headers[0].path.name, "sha256": None})
        writer.add_tokenizer(files, unusable_templates(files))
        for role, header, files_of_graph in zip(ROLES, headers, parts, strict=True):
            _add_graph(writer, role, header, files_of_graph, form, copy, progress)
        writer.finish(progress)
    _log.info("adopted graphs of form %s: sequences of %d tokens", form.form, form.positions)
    return out


def _grid(gears: Sequence[Gear]) -> tuple[Gear, ...]:
    """Every batch at every length, so that a step of any batch has a shape."""
    batches, lengths = sorted({gear[0] for gear in gears}), sorted({gear[1] for gear in gears})
    return tuple((batch, length) for batch in batches for length in lengths)


def _graph_in(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a .mindir file, or the directory of one")
    found = sorted(path.glob("*.mindir"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:4])
        raise CheckpointError(
            f"{path} has {len(found)} graphs ({names or 'no .mindir file'}); give one of them. Graphs that are cut "
            "over several cards (rank_1 and so on) are not supported"
        )
    return found[0]


def _model_of(config: Path, header: MindIrHeader, tokenizer: TokenizerFiles) -> ModelConfig:
    if not config.exists():
        raise CheckpointError(f"{config} does not exist; give the YAML of the export, such as run_skywork_13b.yaml")
    name = config.stem if config.suffix in (".yaml", ".yml") else header.path.stem
    model = read_config(read_configuration(config).values, name, tokenizer=tokenizer)
    if len(tokenizer.entries) > model.vocab_size:
        _log.warning("the tokenizer has %d tokens more than the model", len(tokenizer.entries) - model.vocab_size)
    return model


def _parts_of(header: MindIrHeader) -> dict[str, Path]:
    """The graph's files by their names beside it: itself, and those of its weights, which it names."""
    parts = {header.path.name: header.path}
    for name in sorted(header.external):
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or len(inside.parts) not in (1, 2) or "\\" in name:
            raise CheckpointError(f"{header.path} names its weights {name!r}, which is not beside it")
        path = header.path.parent / inside
        if not path.is_file():
            raise CheckpointError(
                f"{header.path} has weights in {name}, which is not there: keep the folder of weights beside the graph"
            )
        parts[str(inside)] = path
    return parts


def _add_graph(
    writer: BundleWriter,
    role: Role,
    header: MindIrHeader,
    parts: dict[str, Path],
    form: DeviceForm,
    copy: bool,
    progress: Progress,
) -> None:
    done, total = 0, sum(path.stat().st_size for path in parts.values())
    for name, path in parts.items():
        target = writer.path / role / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if copy:
            progress(f"copy {role}", done, total)
            shutil.copyfile(path, target)
            sync(target)
            sync(target.parent)
            done += path.stat().st_size
            progress(f"copy {role}", done, total)
        else:
            target.symlink_to(os.path.realpath(path))
        if path != header.path:
            writer.add_graph_data(f"{role}/{name}")
    writer.add_graph(graph_entry(form, role, f"{role}/{header.path.name}"))
