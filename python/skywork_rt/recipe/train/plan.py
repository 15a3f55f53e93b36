"""From a YAML and a command line to a plan of a training, with every check that needs no MindSpore."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skywork_rt.errors import CheckpointError, InvalidArgumentError, UnsupportedError
from skywork_rt.recipe.configs import find_config
from skywork_rt.recipe.train.agreement import check_agreement
from skywork_rt.recipe.train.checkpoint_files import (
    Start,
    check_tensors,
    find_start,
    first_ranks,
    latest_step,
    rank_folders,
)
from skywork_rt.recipe.train.datasets import DataFiles, data_files
from skywork_rt.recipe.train.limits import adapt_to_device, check_limits, parallel_mode
from skywork_rt.recipe.train.model_shape import model_shape
from skywork_rt.recipe.train.nested_schema import check_tasks
from skywork_rt.recipe.train.output import Output
from skywork_rt.recipe.train.prepare_start import splits_tensors
from skywork_rt.recipe.train.ranks import role, this_rank
from skywork_rt.recipe.train.schema import check_schema
from skywork_rt.recipe.train.settings import Settings, apply_changes, at, callbacks_of, put, read_settings
from skywork_rt.recipe.train.translate import translate

__all__ = ["Plan", "TrainOptions", "make_plan", "ranks_of", "settings_for_mindformers"]


@dataclass(frozen=True)
class TrainOptions:
    """What the command line says beside --config. Paths may be relative; None leaves the configuration's own."""

    changes: Sequence[tuple[str, Any]] = ()
    run_mode: str | None = None
    load_checkpoint: str | None = None
    train_dataset: str | None = None
    eval_dataset: str | None = None
    output_dir: str | None = None
    auto_trans_ckpt: bool | None = None
    use_parallel: bool | None = None
    resume_training: bool | str | None = None
    overwrite: bool = False
    peak_tflops: float | None = None


@dataclass
class Plan:
    """A training that may begin. `settings` are checked and complete; `start` is None for random weights."""

    settings: Settings
    mode: str
    output: Output
    parallel: str
    train: DataFiles | None
    evaluation: DataFiles | None
    start: Start | None
    given: Path | None
    resume: bool
    rank: int = 0
    ranks: int = 1
    overwrite: bool = False
    peak_flops: float | None = None
    changes: Sequence[tuple[str, Any]] = ()
    warnings: list[str] = field(default_factory=list)

    @property
    def model(self) -> Settings:
        """`model.model_config`."""
        config: Settings = at(self.settings, "model.model_config")
        return config

    @property
    def start_is_whole(self) -> bool:
        """Whether one file of the checkpoint has every tensor of the model in its full shape."""
        if self.start is None:
            return False
        try:
            check_tensors(self.start, self.model, resume=False, whole=True)
        except CheckpointError:
            return False
        return True

    @property
    def start_path(self) -> Path | None:
        """The file or folder that this rank's weights are in."""
        return self.start.path if self.start is not None else None


def make_plan(config: str, options: TrainOptions) -> Plan:
    """Reads, translates and checks everything. Raises InvalidArgumentError, UnsupportedError or CheckpointError."""
    settings = read_settings(find_config(config))
    check_tasks(settings, dict(options.changes))
    apply_changes(settings, _named_changes(options))
    apply_changes(settings, options.changes)
    warnings: list[str] = []
    translate(settings, warnings.append)
    check_schema(settings)
    check_limits(settings)
    shape = model_shape(at(settings, "model.model_config"))
    _check_model_use(settings, shape.vocab_size)
    mode = str(settings.get("run_mode") or "train")
    _check_sections(settings, mode)
    _check_callback_options(settings)
    _warn(settings, warnings.append)
    plan = _with_files(settings, mode, options, warnings)
    if role() != "scheduler":
        plan.output.check(resume=plan.resume or mode == "eval", overwrite=options.overwrite, load=plan.given)
    if plan.start is not None and not plan.start.path.is_relative_to(plan.output.prepared):
        check_agreement(plan.start, plan.model, set(dict(options.changes)), warnings.append)
    adapt_to_device(settings)
    return plan


def _named_changes(options: TrainOptions) -> list[tuple[str, Any]]:
    """The options that have names of their own, as changes of the configuration; paths become absolute."""
    changes: list[tuple[str, Any]] = []
    for section in ("train_dataset", "eval_dataset"):
        given = getattr(options, section)
        if given is not None:
            changes.append((f"{section}.data_loader.type", "MindDataset"))
            changes.append((f"{section}.data_loader.dataset_dir", str(Path(given).absolute())))
            changes.append((f"{section}.data_loader.dataset_files", None))
    for name in ("run_mode", "load_checkpoint", "output_dir", "auto_trans_ckpt", "use_parallel", "resume_training"):
        value = getattr(options, name)
        if value is not None:
            changes.append((name, value))
    return changes


def _with_files(settings: Settings, mode: str, options: TrainOptions, warnings: list[str]) -> Plan:
    rank, ranks = this_rank()
    if role() == "worker":
        _check_ranks(settings, ranks)
    output = Output(Path(str(settings.get("output_dir") or "./output")).expanduser().absolute())
    settings["output_dir"] = str(output.folder)
    wanted = settings.get("resume_training") or False
    resume: bool | str = wanted if isinstance(wanted, str) else bool(wanted)
    given_path = _given_checkpoint(settings, output, resume, mode)
    start = _start(settings, given_path, resume, rank)
    parallel = parallel_mode(settings)
    if start is not None and given_path is not None:
        _check_start(settings, start, given_path, bool(resume), parallel)
    train = data_files(settings, "train_dataset", warnings.append) if mode != "eval" else None
    wants_eval = mode == "eval" or bool(settings.get("do_eval"))
    return Plan(
        settings=settings,
        mode=mode,
        output=output,
        parallel=parallel,
        train=train,
        evaluation=data_files(settings, "eval_dataset", warnings.append) if wants_eval else None,
        start=start,
        given=given_path,
        resume=bool(resume),
        rank=rank,
        ranks=ranks,
        overwrite=options.overwrite,
        peak_flops=options.peak_tflops * 1e12 if options.peak_tflops else None,
        changes=options.changes,
        warnings=warnings,
    )


def _check_start(settings: Settings, start: Start, given: Path, resume: bool, parallel: str) -> None:
    """Whole tensors for whole layers, parts for parts; what is split first is whole before."""
    model = at(settings, "model.model_config")
    parted = parallel not in ("stand_alone", "data_parallel") and splits_tensors(settings)
    parts_given = given.is_dir() and bool(rank_folders(given))
    if at(settings, "auto_trans_ckpt"):
        merged = parts_given and bool(settings.get("src_strategy_path_or_dir"))
        if merged or not resume:
            check_tensors(start, model, resume=resume, whole=not parts_given)
            return
    elif parted and not parts_given:
        raise InvalidArgumentError(
            f"load_checkpoint {given} has whole tensors, and this training splits them between its ranks; split it "
            "first by --auto-trans-ckpt True"
        )
    staged = parts_given and int(at(settings, "parallel_config.pipeline_stage", 1)) > 1 and parted
    check_tensors(start, model, resume=resume, whole=not parted, complete=not staged)


def _given_checkpoint(settings: Settings, output: Output, resume: bool | str, mode: str) -> Path | None:
    """What the training begins from, as it was given; without, to resume, the output folder's own checkpoints."""
    given = settings.get("load_checkpoint") or _path_in_model(settings, resume)
    if not given and resume:
        if not output.checkpoints.is_dir() or _latest(settings, output) is None:
            raise InvalidArgumentError(
                f"resume_training is set, and {output.checkpoints} has no checkpoint; give --load-checkpoint, or the "
                "--output-dir of the training to go on with"
            )
        given = str(output.checkpoints)
    if not given:
        if mode in ("finetune", "eval"):
            raise InvalidArgumentError(f"run_mode {mode} needs weights to begin from; give --load-checkpoint")
        return None
    return Path(str(given)).expanduser().absolute()


def _latest(settings: Settings, output: Output) -> int | None:
    return latest_step(first_ranks(rank_folders(output.checkpoints), ranks_of(settings)))


def _path_in_model(settings: Settings, resume: bool | str) -> str | None:
    """`checkpoint_name_or_path`, where it is a path: by a name MindFormers 1.0 downloaded weights."""
    given = at(settings, "model.model_config.checkpoint_name_or_path")
    if not given or Path(str(given)).expanduser().exists():
        return given or None
    if resume:  # from the output folder
        return None
    if "/" in str(given) or str(given).endswith((".ckpt", ".safetensors")):
        raise InvalidArgumentError(
            f"model.model_config.checkpoint_name_or_path {given} does not exist; give the weights by --load-checkpoint"
        )
    raise InvalidArgumentError(
        f"model.model_config.checkpoint_name_or_path is {given!r}, a name by which MindFormers 1.0 downloaded weights, "
        "and which nothing stands for today; give the weights by --load-checkpoint, or begin from random ones by "
        "--set model.model_config.checkpoint_name_or_path=''"
    )


def _start(settings: Settings, path: Path | None, resume: bool | str, rank: int) -> Start | None:
    if path is None:
        return None
    if at(settings, "auto_trans_ckpt") and path.is_dir() and rank_folders(path):
        return find_start(path, 0, resume)  # all parts are put together first
    return find_start(path, rank, resume, ranks_of(settings))


def _check_model_use(settings: Settings, vocabulary: int) -> None:
    model = at(settings, "model.model_config")
    if model.get("use_past") is True:
        raise InvalidArgumentError(
            "model.model_config.use_past is True; training needs --set model.model_config.use_past=False"
        )
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = model.get(key)
        if isinstance(value, int) and value >= vocabulary:
            raise InvalidArgumentError(
                f"model.model_config.{key} is {value}, outside the vocabulary of {vocabulary} tokens"
            )
    if settings.get("use_legacy") is False or settings.get("use_legacy_format") is False:
        raise UnsupportedError(
            "use_legacy and use_legacy_format must be True: LlamaForCausalLM is a model of the former kind"
        )


def _check_sections(settings: Settings, mode: str) -> None:
    needed = ("runner_config", "optimizer", "lr_schedule", "train_dataset") if mode != "eval" else ("eval_dataset",)
    for name in needed:
        if not settings.get(name) and name != "lr_schedule":
            raise InvalidArgumentError(f"the configuration has no {name}, which run_mode {mode} needs")
    if mode != "eval" and not settings.get("lr_schedule") and at(settings, "optimizer.learning_rate") is None:
        raise InvalidArgumentError("the configuration has neither lr_schedule nor optimizer.learning_rate")
    if settings.get("do_eval") and not settings.get("eval_dataset"):
        raise InvalidArgumentError("do_eval is True, and the configuration has no eval_dataset; give --eval-dataset")


def _check_callback_options(settings: Settings) -> None:
    entries = list(callbacks_of(settings, "CheckpointMonitor"))
    if len(entries) > 1:
        raise InvalidArgumentError(f"callbacks has CheckpointMonitor {len(entries)} times; once is enough")
    for entry in entries:
        prefix = str(entry.get("prefix") or "CKP")
        if "/" in prefix or "rank" in prefix:
            raise InvalidArgumentError(f"callbacks: the prefix {prefix!r} of CheckpointMonitor has '/' or 'rank' in it")
        if entry.get("checkpoint_format") not in (None, "ckpt", "safetensors"):
            raise InvalidArgumentError("callbacks: checkpoint_format of CheckpointMonitor must be ckpt or safetensors")
        for key in ("enc_key", "remove_redundancy", "saved_network", "config"):
            if entry.get(key):
                raise UnsupportedError(f"callbacks: {key} of CheckpointMonitor is not supported here; leave it out")


def _warn(settings: Settings, warn: Callable[[str], None]) -> None:
    if parallel_mode(settings) == "data_parallel" and at(settings, "parallel.gradients_mean") is not True:
        warn(
            "parallel.gradients_mean is not True: data parallel training adds the gradients of the ranks up instead of "
            "taking their mean, so that the learning rate means something else than on one card"
        )
    batch, other = at(settings, "runner_config.batch_size"), at(settings, "train_dataset.batch_size")
    if batch is not None and other is not None and batch != other:
        warn(f"train_dataset.batch_size {other} is not used: runner_config.batch_size {batch} is")


def _check_ranks(settings: Settings, started: int) -> None:
    """What msrun started is what the configuration is for; else each process would train alone into the same files."""
    wanted = ranks_of(settings)
    if wanted == started:
        return
    if not settings.get("use_parallel"):
        raise InvalidArgumentError(
            f"msrun started {started} workers, and use_parallel is False, so that each would train alone and all write "
            "the same files; add --use-parallel True, or start 'skywork-rt train' without msrun"
        )
    degrees = " x ".join(f"{name} {at(settings, f'parallel_config.{name}', 1)}" for name in _DEGREES)
    raise InvalidArgumentError(
        f"msrun started {started} workers, and parallel_config asks for {wanted} ranks ({degrees}); start {wanted} "
        "workers (--worker_num, DEVICE_NUM of launch), or change the degrees, such as --set "
        f"parallel_config.data_parallel={started}"
    )


_DEGREES = ("data_parallel", "model_parallel", "pipeline_stage", "context_parallel")


def ranks_of(settings: Settings) -> int:
    """How many ranks the configuration asks for: the product of its parallel degrees."""
    if not settings.get("use_parallel"):
        return 1
    count = 1
    for degree in _DEGREES:
        count *= int(at(settings, f"parallel_config.{degree}", 1))
    return count


def settings_for_mindformers(plan: Plan, load: Path | None) -> Settings:
    """What MindFormers gets: without the parts that are done here (log, checkpoints, evaluation, TensorBoard)."""
    settings = copy.deepcopy(plan.settings)
    for name in ("eval_dataset", "eval_dataset_task", "eval_callbacks", "metric", "processor", "tensorboard"):
        settings.pop(name, None)
    own = ("MFLossMonitor", "CheckpointMonitor")
    settings["callbacks"] = [entry for entry in settings.get("callbacks") or [] if entry.get("type") not in own]
    settings["do_eval"] = False
    settings["auto_trans_ckpt"] = False
    settings["load_checkpoint"] = str(load) if load is not None else ""
    settings["load_ckpt_format"] = "ckpt"
    settings["resume_training"] = plan.resume
    put(settings, "model.model_config.checkpoint_name_or_path", "")
    put(settings, "model.model_config.type", "LlamaConfig")
    put(settings, "model.arch.type", "LlamaForCausalLM")
    settings.setdefault("trainer", {"type": "CausalLanguageModelingTrainer", "model_name": "llama"})
    if plan.train is not None:
        dataset = settings["train_dataset"]
        dataset["data_loader"]["type"] = "MindDataset"
        dataset["data_loader"].pop("dataset_files", None)
        dataset["data_loader"].pop("dataset_dir", None)
        dataset["data_loader"]["dataset_files"] = [str(path) for path in plan.train.files]
        dataset["input_columns"] = list(plan.train.columns)
        settings["train_dataset_task"] = {
            "type": "CausalLanguageModelDataset",
            "dataset_config": copy.deepcopy(dataset),
        }
    return settings
