"""One checkpoint to those of N ranks, and back, as mindspore.transform_checkpoints does it, in bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.mindspore.names import is_training_state, moment_of
from skywork_rt.checkpoints.mindspore.source import open_weight_file
from skywork_rt.checkpoints.mindspore.strategy import Strategy, read_strategy, strategy_bytes
from skywork_rt.checkpoints.open import mindspore_file_of
from skywork_rt.checkpoints.tensors.ckpt_file import CkptFile
from skywork_rt.checkpoints.tensors.ckpt_layout import CkptLayout
from skywork_rt.checkpoints.tensors.file_layout import FileLayout, TensorSpec
from skywork_rt.checkpoints.tensors.safetensors_layout import SafetensorsLayout
from skywork_rt.checkpoints.tensors.weight_file import TensorInfo, WeightFile
from skywork_rt.convert.description import check_heads, companions_of_ranks
from skywork_rt.convert.jobs import Outcome, check_workers, plain, run
from skywork_rt.convert.parallelism import Parallelism
from skywork_rt.convert.partial import PartialOutput
from skywork_rt.convert.plan import Plan, PlannedFile, PlannedTensor
from skywork_rt.convert.ranks import RankedCheckpoint, layout_of
from skywork_rt.convert.replacing import STRATEGY_FOLDER, check_inputs, check_output
from skywork_rt.convert.report import Report
from skywork_rt.convert.slices import Box, Division
from skywork_rt.errors import CheckpointError, InvalidArgumentError
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["PREFIX", "STRATEGY_FOLDER", "merge", "split"]

PREFIX = "checkpoint_"
"""What the names of ranks' files begin with, as MindFormers' auto_trans_ckpt calls them."""


def split(
    source: Path | str,
    out: Path | str,
    strategy: Path | str | Parallelism,
    *,
    source_strategy: Path | str | None = None,
    prefix: str = PREFIX,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Writes `out`/rank_N/`prefix`N.ckpt for every rank N, each the part of `source` that the rank loads.

    Args:
        source: a .ckpt or .safetensors of MindSpore, whole; or a directory with rank_0, rank_1, … of another
            distribution, which `source_strategy` describes. The ranks' files are of the same kind.
        out: a directory, which appears when all ranks are complete; until then there is `out`.partial, from which the
            same call goes on after an interruption.
        strategy: MindSpore's strategy file (one, or a directory with those of all pipeline stages), or a `Parallelism`,
            whose strategy files are then written to `out`/strategy.
        prefix: what the files' names begin with.
        workers: processes; None for one a processor.
        overwrite: replace the directory `out`, in one step, when all is done; only when all that is in it is what this
            function writes.
        progress: called as bytes are written.

    The optimizer's moments are divided as their weights where the strategy does not name them; counters go to every
    rank. A configuration beside the source is used to refuse a model_parallel that does not divide its heads. Raises
    CheckpointError when source and strategy do not fit, InvalidArgumentError for a wrong argument,
    CapacityError when the disk is too full.
    """
    out, progress = Path(out), progress or no_progress
    _check_prefix(prefix)
    job = SplitJob(
        mindspore_file_of(Path(source)),
        strategy if isinstance(strategy, Parallelism) else Path(strategy),
        None if source_strategy is None else Path(source_strategy),
        prefix,
    )
    files = job.strategy if isinstance(job.strategy, Path) else None
    check_output(out, "ranks", (job.source, files, job.source_strategy), overwrite=overwrite)
    plan = job.plan()
    check_inputs(out, plan.inputs)
    if isinstance(job.strategy, Parallelism):
        check_heads(job.source, job.strategy)
    _check_crc(plan.inputs, progress)
    with PartialOutput(out, directory=True) as partial:
        outcome = run(job, plan, partial, "split", progress, check_workers(workers, len(plan.files)))
        _write_strategy(partial.root, job)
        partial.publish_directory(overwrite=overwrite)
    left_out = _texts(job.source)
    return _report(out, plan, outcome, left_out, len(plan.files))


def merge(
    source: Path | str,
    strategy: Path | str,
    out: Path | str,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Writes the whole checkpoint `out` (.ckpt or .safetensors) from `source`/rank_N, which `strategy` describes.

    `strategy` is one file or a directory with those of all stages (`split` writes such a one). In a rank's directory
    with several checkpoints the last one is taken, by the numbers in their names, and a warning is logged. The
    configuration and the tokenizer that lie in `source` or in a rank's directory are copied beside `out`, so that it
    is a source of `skywork_rt.export.export`; where those of another model are there, the call is refused. The rest
    is as in `split`.
    """
    out, progress = Path(out), progress or no_progress
    if out.suffix not in (".ckpt", ".safetensors"):
        raise InvalidArgumentError(f"{out.name} must end in .ckpt or .safetensors")
    check_output(out, "file", (Path(source), Path(strategy)), overwrite=overwrite)
    job = MergeJob(Path(source), Path(strategy), out.name)
    plan = job.plan()
    check_inputs(out, plan.inputs)
    companions, beside = companions_of_ranks(job.source), out.absolute().parent
    if companions:
        companions.check(beside)
    _check_crc(plan.inputs, progress)
    with PartialOutput(out) as partial:
        outcome = run(job, plan, partial, "merge", progress, check_workers(workers, len(plan.units())))
        written = companions.write_missing(beside, None) if companions else []
        partial.publish_file(out.name, overwrite=overwrite)
    return dataclasses.replace(_report(out, plan, outcome, [], 0), written_beside=written)


def _report(out: Path, plan: Plan, outcome: Outcome, left_out: Sequence[str], ranks: int) -> Report:
    dtypes = sorted({tensor.spec.dtype for file in plan.files for tensor in file.tensors})
    return Report(
        out, outcome.tensors, outcome.bytes, outcome.peak_memory, outcome.resumed, dtypes, left_out, ranks=ranks
    )


def _check_prefix(prefix: str) -> None:
    if "/" in prefix or "\0" in prefix or prefix.startswith("."):
        raise InvalidArgumentError(f"prefix is {prefix!r}; it must be the beginning of a file's name")


def _check_crc(files: Sequence[Path], progress: Progress) -> None:
    for file in files:
        if file.suffix == ".ckpt":
            CkptFile(file).check_crc(progress)


def _texts(source: Path) -> list[str]:
    return list(CkptFile(source).texts) if source.is_file() and source.suffix == ".ckpt" else []


def _write_strategy(root: Path, job: SplitJob) -> None:
    if not isinstance(job.strategy, Parallelism):
        return
    folder = root / STRATEGY_FOLDER
    folder.mkdir(exist_ok=True)
    strategy = job.strategy_for(job.open())
    for stage, layouts in enumerate(strategy.stages):
        content = strategy_bytes(layouts, stage)
        for rank in range(stage * strategy.devices, (stage + 1) * strategy.devices):
            (folder / f"ckpt_strategy_rank_{rank}.ckpt").write_bytes(content)


@dataclass(frozen=True)
class SplitJob:
    """The arguments of `split` that decide its plan."""

    source: Path
    strategy: Path | Parallelism
    source_strategy: Path | None
    prefix: str

    def to_json(self) -> dict[str, Any]:
        return plain(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> SplitJob:
        strategy, origin = body["strategy"], body["source_strategy"]
        return cls(
            Path(body["source"]),
            Parallelism(**strategy) if isinstance(strategy, dict) else Path(strategy),
            None if origin is None else Path(origin),
            body["prefix"],
        )

    def open(self) -> WeightFile:
        """The source's table."""
        if self.source.is_dir():
            if self.source_strategy is None:
                raise InvalidArgumentError(
                    f"{self.source.name} is a directory: give one checkpoint, or with rank_0, rank_1, … in it the "
                    "strategy by which it is divided, as --source-strategy (source_strategy=)"
                )
            return RankedCheckpoint(self.source, read_strategy(self.source_strategy))
        if self.source_strategy is not None:
            raise InvalidArgumentError(f"{self.source.name} is one file; source_strategy is for a directory of ranks")
        return open_weight_file(self.source)

    def strategy_for(self, file: WeightFile) -> Strategy:
        """The strategy, made for the source's tensors when it is a `Parallelism`."""
        if isinstance(self.strategy, Parallelism):
            return self.strategy.strategy({name: info.shape for name, info in file.tensors.items()})
        return read_strategy(self.strategy)

    def plan(self) -> Plan:
        file = self.open()
        strategy = self.strategy_for(file)
        _check_fit(file, strategy)
        paths = file.paths if isinstance(file, RankedCheckpoint) else [file.path]
        suffix = paths[0].suffix
        files = [
            PlannedFile(f"rank_{rank}/{self.prefix}{rank}{suffix}", _layout(suffix, tensors), tensors)
            for rank in range(strategy.ranks)
            for tensors in [_tensors_of_rank(file, strategy, rank)]
        ]
        return Plan(files, paths, {"split": [dict(stage) for stage in strategy.stages]})


def _check_fit(file: WeightFile, strategy: Strategy) -> None:
    """Every weight has a layout, and every layout of a weight its tensor."""
    divided = {name for layouts in strategy.stages for name in layouts}
    for name, info in file.tensors.items():
        known = name in divided or moment_of(name) in divided or is_training_state(name) or not info.shape
        if not known:
            raise CheckpointError(f"{strategy.where} has no layout for {name}, a tensor of {file.path.name}")
    for name in divided:
        if name not in file.tensors and not is_training_state(name):
            raise CheckpointError(f"{file.path.name} lacks {name}, which {strategy.where} divides")


def _tensors_of_rank(file: WeightFile, strategy: Strategy, rank: int) -> list[PlannedTensor]:
    stage, place = divmod(rank, strategy.devices)
    tensors = []
    for name, info in file.tensors.items():
        layout = layout_of(strategy.stages[stage], name)
        if layout is not None:
            box = Division(layout, len(info.shape), name, strategy.where).box(info.shape, place)
        elif any(layout_of(layouts, name) for layouts in strategy.stages):
            continue  # another stage's
        else:
            box = tuple((0, size) for size in info.shape)
        tensors.append(_part(file, name, info, box))
    return tensors


def _part(file: WeightFile, name: str, info: TensorInfo, box: Box) -> PlannedTensor:
    shape = tuple(stop - start for start, stop in box)

    def load() -> NDArray[Any]:
        if not box:
            return file.read_array(name)
        rows = file.read_array(name, *box[0])
        return np.ascontiguousarray(rows[(slice(None), *(slice(*span) for span in box[1:]))])

    return PlannedTensor(TensorSpec(name, shape, info.dtype), load)


def _layout(suffix: str, tensors: Sequence[PlannedTensor]) -> FileLayout:
    specs = [tensor.spec for tensor in tensors]
    return CkptLayout(specs) if suffix == ".ckpt" else SafetensorsLayout(specs, {"format": "ms"})


@dataclass(frozen=True)
class MergeJob:
    """The arguments of `merge` that decide its plan."""

    source: Path
    strategy: Path
    name: str

    def to_json(self) -> dict[str, Any]:
        return plain(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> MergeJob:
        return cls(Path(body["source"]), Path(body["strategy"]), body["name"])

    def plan(self) -> Plan:
        strategy = read_strategy(self.strategy)
        ranked = RankedCheckpoint(self.source, strategy)
        tensors = [
            PlannedTensor(TensorSpec(name, info.shape, info.dtype), _whole(ranked, name))
            for name, info in ranked.tensors.items()
        ]
        file = PlannedFile(self.name, _layout(Path(self.name).suffix, tensors), tensors)
        return Plan([file], ranked.paths, {"merge": [dict(stage) for stage in strategy.stages]})


def _whole(file: WeightFile, name: str) -> Callable[[], NDArray[Any]]:
    return lambda: file.read_array(name)
