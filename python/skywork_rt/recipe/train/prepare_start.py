"""Makes of the checkpoint that a training begins from the file that MindFormers loads on this rank.

MindFormers cannot do this itself on CPU (its own transformation needs a kernel that a CPU lacks), and reads no torch
files anywhere; so converting, splitting and merging come before it. What is made lies below the output folder, in a
folder that is named after what it was made from, and is used again by a later start.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skywork_rt.errors import BackendError, CheckpointError, InvalidArgumentError
from skywork_rt.recipe.train.checkpoint_files import rank_folders
from skywork_rt.recipe.train.ranks import role
from skywork_rt.recipe.train.settings import Settings, at
from skywork_rt.support.stages import Progress

if TYPE_CHECKING:
    from skywork_rt.recipe.train.plan import Plan

__all__ = ["prepare_start", "splits_tensors"]

_PATIENCE = 4 * 3600.0
"""Seconds that a rank waits for rank 0 to convert a checkpoint: far longer than 28 GB take."""


def splits_tensors(settings: Settings) -> bool:
    """Whether the configuration divides tensors, or layers, among ranks."""
    degrees = (at(settings, f"parallel_config.{name}", 1) for name in ("model_parallel", "pipeline_stage"))
    return any(degree != 1 for degree in degrees) or _optimizer_shard(settings)


def _optimizer_shard(settings: Settings) -> bool:
    shard = at(settings, "parallel_config.optimizer_shard")
    return bool(at(settings, "parallel.enable_parallel_optimizer", False) if shard is None else shard)


def prepare_start(plan: Plan, progress: Progress) -> Path | None:
    """The .ckpt to load, or for a launch of ranks the directory of their files; None for random weights."""
    if plan.start is None or plan.given is None:
        return None
    source = plan.given
    if at(plan.settings, "auto_trans_ckpt"):
        return _of_this_rank(_transformed(plan, source, progress), plan)
    if plan.start.kind == "ckpt":
        return plan.start.path
    return _as_ckpt(plan, plan.start.path, progress)


def _transformed(plan: Plan, source: Path, progress: Progress) -> Path:
    """One checkpoint of the parts, then parts of the one, each only where it is needed."""
    assert plan.start is not None
    if source.is_dir() and rank_folders(source):
        whole = _merged(plan, source, progress)
    elif plan.start.kind == "ckpt":
        whole = plan.start.path
    else:
        whole = _as_ckpt(plan, plan.start.path, progress)
    if plan.parallel in ("stand_alone", "data_parallel") or not splits_tensors(plan.settings):
        return whole
    from skywork_rt.convert import Parallelism, split

    parallelism = Parallelism(
        data_parallel=int(at(plan.settings, "parallel_config.data_parallel", 1)),
        model_parallel=int(at(plan.settings, "parallel_config.model_parallel", 1)),
        pipeline_stages=int(at(plan.settings, "parallel_config.pipeline_stage", 1)),
        optimizer_shard=_optimizer_shard(plan.settings),
        vocab_emb_dp=bool(at(plan.settings, "parallel_config.vocab_emb_dp", True)),
    )
    out = _place(plan, whole, f"split {parallelism}")
    return _made_once(out, lambda: split(whole, out, parallelism, progress=progress), plan)


def _merged(plan: Plan, source: Path, progress: Progress) -> Path:
    """Data parallel ranks without optimizer shard each have everything; all others come together by their strategy."""
    strategy = plan.settings.get("src_strategy_path_or_dir")
    if not strategy:
        if len(rank_folders(source)) == 1 or plan.start_is_whole:
            assert plan.start is not None
            return plan.start.path
        raise InvalidArgumentError(
            f"auto_trans_ckpt: {source} has the parts of {len(rank_folders(source))} ranks; give the strategy by which "
            "they were split as src_strategy_path_or_dir"
        )
    from skywork_rt.convert import merge

    out = _place(plan, source, f"merge {strategy}") / "model.ckpt"
    return _made_once(out, lambda: merge(source, Path(str(strategy)).absolute(), out, progress=progress), plan)


def _as_ckpt(plan: Plan, source: Path, progress: Progress) -> Path:
    out = _place(plan, source, "ckpt") / "model.ckpt"
    from skywork_rt.convert import convert

    return _made_once(out, lambda: convert(source, out, progress=progress), plan)


def _place(plan: Plan, source: Path, what: str) -> Path:
    """A folder whose name changes with the source's files, so that nothing is taken for what it is not."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    marks = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    key = hashlib.sha256("\n".join([what, *marks]).encode()).hexdigest()[:16]
    return plan.output.prepared / key


def _made_once(out: Path, make: Callable[[], object], plan: Plan) -> Path:
    """Rank 0 makes it, the others wait until it is whole: what makes it gives it its name last."""
    if out.exists():
        return out
    if role() == "worker" and plan.rank != 0:
        deadline = time.monotonic() + _PATIENCE
        while not out.exists():
            if time.monotonic() > deadline:
                raise BackendError(f"rank 0 has not written {out} in {_PATIENCE:.0f} seconds; is output_dir shared?")
            time.sleep(0.2)
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    make()
    return out


def _of_this_rank(made: Path, plan: Plan) -> Path:
    """A directory of rank_N folders stays one for a launch; a rank takes its own file."""
    if not made.is_dir() or role() == "alone":
        return made
    files = sorted((made / f"rank_{plan.rank}").glob("*.ckpt"))
    if len(files) != 1:
        raise CheckpointError(f"{made}/rank_{plan.rank} has {len(files)} checkpoints after the split; one was expected")
    return files[0]
