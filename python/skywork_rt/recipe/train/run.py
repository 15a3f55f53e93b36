"""One rank of a training, from its plan to its last checkpoint."""

from __future__ import annotations

import contextlib
import math
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from skywork_rt.errors import BackendError, InvalidArgumentError, SkyworkError
from skywork_rt.recipe.train.limits import device_target
from skywork_rt.recipe.train.model_shape import model_shape
from skywork_rt.recipe.train.plan import Plan, settings_for_mindformers
from skywork_rt.recipe.train.prepare_start import prepare_start
from skywork_rt.recipe.train.quiet import aside, set_environment
from skywork_rt.recipe.train.ranks import Ranks, role
from skywork_rt.recipe.train.settings import at, callbacks_of, dump_settings
from skywork_rt.support.mindspore_import import import_mindspore
from skywork_rt.support.stages import Progress, no_progress

if TYPE_CHECKING:
    from skywork_rt.recipe.train.evaluation import Evaluator
    from skywork_rt.recipe.train.monitor import Watch
    from skywork_rt.recipe.train.stop import StopRequest

__all__ = ["Outcome", "run_rank", "steps_of"]


@dataclass(frozen=True)
class Outcome:
    """What a training or evaluation came to. `stopped_by` is the signal that ended it early."""

    step: int = 0
    loss: float | None = None
    perplexity: float | None = None
    tokens_per_second: float | None = None
    stopped_by: int | None = None


def run_rank(plan: Plan, progress: Progress = no_progress) -> Outcome:
    """Trains or evaluates what this process is a rank of; returns when the last step is saved.

    Raises BackendError when MindSpore fails, with the place of its whole text; what the checks of records find is an
    InvalidArgumentError.
    """
    plan.output.check_writable()
    set_environment(plan.output.folder)
    log = plan.output.logs / ("scheduler.txt" if role() == "scheduler" else f"rank_{plan.rank}.txt")
    with aside(log) as screen, _told(log):
        if role() == "scheduler":
            return _be_scheduler(plan)
        if plan.mode == "eval":
            return _evaluate(plan, screen)
        return _train(plan, screen, progress)


@contextlib.contextmanager
def _told(log: Path) -> Iterator[None]:
    """Exceptions of MindSpore and MindFormers become one line, and their whole text goes into the log."""
    try:
        yield
    except (SkyworkError, KeyboardInterrupt):
        raise
    except BaseException as error:
        traceback.print_exc(file=sys.stdout)
        if isinstance(error, SystemExit) and not error.code:
            raise
        raise BackendError(f"MindSpore failed: {_reason(error)}; the whole text is in {log}") from error


def _reason(error: BaseException) -> str:
    """The first sentence; MindSpore puts boxes and source lines of its own behind it."""
    text = " ".join(str(error).split()) or type(error).__name__
    for mark in (" -----", " - The Function Call Stack", " - C++ Call Stack", " # "):
        text = text.split(mark)[0]
    return f"{type(error).__name__}: {text[:400]}"


def _be_scheduler(plan: Plan) -> Outcome:
    """The process that msrun starts beside the ranks: it waits until they have all ended."""
    _build(plan, None)
    return Outcome()


def _build(plan: Plan, load: Path | None) -> Any:
    """MindFormers' configuration, with its context built."""
    import_mindspore("training", "recipe")
    mindformers = import_mindspore("training", "recipe", "mindformers")
    path = (
        plan.output.run_file(plan.rank) if role() != "scheduler" else plan.output.folder / "config" / "scheduler.yaml"
    )
    settings = settings_for_mindformers(plan, load)
    settings["run_mode"] = "train"  # MindFormers' eval would build for generating
    dump_settings(settings, path)
    config = mindformers.MindFormerConfig(str(path))
    config.callbacks = [entry for entry in config.callbacks if entry["type"] != "MFLossMonitor"]
    if device_target(plan.settings) == "CPU":
        from skywork_rt.recipe.train import step_cell

        step_cell.replace_barrier()
    mindformers.build_context(config)
    return config


def _ranks(plan: Plan) -> Ranks:
    if plan.parallel == "stand_alone":
        return Ranks()
    from mindspore.communication import get_group_size, get_rank

    rank, size = int(get_rank()), int(get_group_size())
    if plan.parallel == "data_parallel":
        return Ranks(rank, size, None)
    stages = int(at(plan.settings, "parallel_config.pipeline_stage", 1))
    return Ranks(rank, size, size - 1 if stages > 1 else 0)


def _train(plan: Plan, screen: TextIO, progress: Progress) -> Outcome:
    from skywork_rt.recipe.train.stop import StopRequest

    load = prepare_start(plan, progress)
    config = _build(plan, load)
    ranks = _ranks(plan)
    with StopRequest() as stop:
        watch = _watch(plan, ranks, stop, screen, progress, load)
        from mindformers import Trainer

        from skywork_rt.recipe.train.monitor import Monitor

        monitor = Monitor(watch)
        try:
            trainer = Trainer(config, callbacks=[monitor])
            if load is not None and not plan.resume:
                trainer.finetune(finetune_checkpoint=str(load))
            else:
                trainer.train()
        except BaseException:
            monitor.finish()
            raise
    records = watch.log.records if watch.log is not None else []
    return Outcome(
        step=watch.step,
        loss=records[-1].loss if records else None,
        tokens_per_second=watch.clock.mean(),
        stopped_by=watch.stopped_by,
    )


def _watch(plan: Plan, ranks: Ranks, stop: StopRequest, screen: TextIO, progress: Progress, load: Path | None) -> Watch:
    from skywork_rt.recipe.train.datasets import check_records, steps_per_epoch
    from skywork_rt.recipe.train.monitor import Watch
    from skywork_rt.recipe.train.records import LossLog
    from skywork_rt.recipe.train.saver import Saver
    from skywork_rt.recipe.train.throughput import StepClock, flops_per_token

    assert plan.train is not None
    records = check_records(plan.train, plan.model)
    batch = _global_batch(plan, ranks)
    an_epoch = steps_per_epoch(records, batch, at(plan.settings, "train_dataset", {}))
    first, last = steps_of(plan, an_epoch, batch)
    evaluator = _evaluator(plan, ranks) if plan.evaluation is not None else None
    if plan.overwrite and not plan.resume and ranks.rank == 0:
        # Not before: nothing can refuse the training any more. The other ranks write nothing before the first step,
        # which all do together.
        plan.output.clear(keep=load)
    leads = ranks.rank == (ranks.loss_rank or 0)
    length = int(plan.model.get("seq_length") or 2048)
    saver = Saver(_saver_settings(plan), plan.output.folder, ranks.rank, an_epoch, batch, plan.model, last_step=first)
    say = _screen_lines(screen, leads)
    return Watch(
        ranks=ranks,
        saver=saver,
        stop=stop,
        clock=StepClock(max(1, batch * length // ranks.size)),
        say=say,
        progress=lambda done, total: progress("training", done, total) if leads else None,
        first_step=first,
        last_step=last,
        steps_per_epoch=an_epoch,
        report_every=_report_every(plan),
        eval_every=_eval_every(plan, an_epoch),
        peak=_peak(plan),
        flops_per_token=flops_per_token(model_shape(plan.model), length),
        loss_divisor=_loss_divisor(plan),
        evaluator=evaluator,
        log=LossLog(plan.output.loss_log, first) if leads else None,
        curve=plan.output.curve if leads else None,
        writers=_writers(plan, first) if leads else [],
        state=dict(plan.start.state) if plan.resume and plan.start is not None else {},
    )


def _screen_lines(screen: TextIO, leads: bool) -> Callable[[str], None]:
    def say(line: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal or pipe ends no training
            print(line, file=screen, flush=True)

    return say if leads else (lambda line: None)


def _global_batch(plan: Plan, ranks: Ranks) -> int:
    """Records of a step, as MindFormers counts them."""
    settings = plan.settings
    batch = int(at(settings, "runner_config.batch_size", 1))
    if plan.parallel in ("stand_alone", "data_parallel", "hybrid_parallel"):
        return batch * ranks.size
    batch *= int(at(settings, "parallel_config.data_parallel", 1)) * int(
        settings.get("micro_batch_interleave_num") or 1
    )
    if int(at(settings, "parallel_config.pipeline_stage", 1)) > 1:
        return batch * int(at(settings, "parallel_config.micro_batch_num", 1))
    return batch * int(at(settings, "runner_config.gradient_accumulation_steps", 1))


def steps_of(plan: Plan, an_epoch: int, batch: int) -> tuple[int, int]:
    """The last step that was done before, and the last one of all."""
    last = an_epoch * int(at(plan.settings, "runner_config.epochs", 1))
    stop = int(at(plan.settings, "runner_config.stop_step", 0))
    last = min(last, stop) if stop else last
    first = 0
    if plan.resume and plan.start is not None:
        scale = (plan.start.global_batch_size or batch) / batch
        if scale != 1 and plan.start.path.is_relative_to(plan.output.folder):
            raise InvalidArgumentError(
                f"{plan.start.path.name} is of a training with {plan.start.global_batch_size} records a step, and this "
                f"one has {batch}: its steps count otherwise, and its checkpoints would take earlier ones' place; "
                "resume with the same batch and ranks, or give another --output-dir"
            )
        first = int(plan.start.step * scale)
        if first >= last:
            raise InvalidArgumentError(
                f"{plan.start.path.name} is of step {first}, and this training has {last} steps ({an_epoch} an epoch): "
                "it is complete; raise runner_config.epochs to train on, or use --run-mode finetune for a new one"
            )
    return first, last


def _saver_settings(plan: Plan) -> Any:
    from skywork_rt.recipe.train.saver import SaverSettings

    entry = next(callbacks_of(plan.settings, "CheckpointMonitor"), None)
    if entry is None:  # the last step is saved all the same
        return SaverSettings(every_steps=sys.maxsize)
    return SaverSettings(
        prefix=str(entry.get("prefix") or "CKP"),
        every_steps=int(entry.get("save_checkpoint_steps") or 1),
        every_seconds=int(entry.get("save_checkpoint_seconds") or 0),
        keep=int(entry.get("keep_checkpoint_max") or 5),
        integrated=bool(entry.get("integrated_save", True)) and plan.parallel in ("stand_alone", "data_parallel"),
        format=str(entry.get("checkpoint_format") or "ckpt"),
        network_too=bool(entry.get("save_network_params")),
        trainable_too=bool(entry.get("save_trainable_params")),
    )


def _report_every(plan: Plan) -> int:
    entry = next(callbacks_of(plan.settings, "MFLossMonitor"), {})
    return int(entry.get("per_print_times") or 1)


def _eval_every(plan: Plan, an_epoch: int) -> int:
    if not plan.settings.get("do_eval"):
        return 0
    epochs = int(plan.settings.get("eval_epoch_interval") or -1)
    if epochs > 0:
        return epochs * an_epoch
    return max(0, int(plan.settings.get("eval_step_interval") or 100))


def _loss_divisor(plan: Plan) -> float:
    """What MindSpore's pipeline and accumulation cells add up instead of averaging."""
    settings = plan.settings
    divisor = int(settings.get("micro_batch_interleave_num") or 1)
    if not settings.get("calculate_per_token_loss"):
        if int(at(settings, "parallel_config.pipeline_stage", 1)) > 1:
            divisor *= int(at(settings, "parallel_config.micro_batch_num", 1))
        else:
            divisor *= int(at(settings, "runner_config.gradient_accumulation_steps", 1))
    return float(divisor)


def _peak(plan: Plan) -> float | None:
    from skywork_rt.recipe.train.throughput import peak_of

    if plan.peak_flops is not None or device_target(plan.settings) == "CPU":
        return plan.peak_flops
    import mindspore as ms

    return peak_of(str(ms.hal.get_device_name(0, device_target(plan.settings))))


def _evaluator(plan: Plan, ranks: Ranks) -> Evaluator:
    from skywork_rt.recipe.train.datasets import check_records
    from skywork_rt.recipe.train.evaluation import Evaluator

    assert plan.evaluation is not None
    check_records(plan.evaluation, plan.model)
    batch = at(plan.settings, "eval_dataset.batch_size") or at(plan.settings, "runner_config.batch_size", 1)
    if plan.parallel not in ("stand_alone", "data_parallel"):
        batch = _global_batch(plan, ranks)  # the sharded graph was made for whole batches
    return Evaluator(
        plan.evaluation.files,
        plan.evaluation.columns,
        int(batch),
        int(plan.model.get("pad_token_id") or 0),
        int(plan.model.get("ignore_token_id") or -100),
        ranks,
        shard=plan.parallel == "data_parallel",
    )


def _writers(plan: Plan, first: int) -> list[Any]:
    from skywork_rt.recipe.train.tensorboard import TensorBoardWriter

    folder = at(plan.settings, "tensorboard.tensorboard_dir")
    return [TensorBoardWriter(Path(folder).absolute() if folder else plan.output.tensorboard, first)]


def _evaluate(plan: Plan, screen: TextIO) -> Outcome:
    """Loss and perplexity of a checkpoint, as evaluation during training computes them."""
    load = prepare_start(plan, no_progress)
    config = _build(plan, load)
    ranks = _ranks(plan)
    evaluator = _evaluator(plan, ranks)
    result = evaluator.run(_network(config, load))
    if ranks.rank == 0:
        perplexity = f"{result.perplexity:.6g}" if math.isfinite(result.perplexity) else "infinite"
        print(f"evaluation loss {result.loss:.6f}  perplexity {perplexity}  {result.tokens} tokens", file=screen)
    return Outcome(step=plan.start.step if plan.start else 0, loss=result.loss, perplexity=result.perplexity)


def _network(config: Any, load: Path | None) -> Any:
    import mindspore as ms
    from mindformers.core.parallel_config import build_parallel_config
    from mindformers.models import build_network

    build_parallel_config(config)
    network = build_network(
        config.model, default_args={"parallel_config": config.parallel_config, "moe_config": config.moe_config}
    )
    missing, _ = ms.load_param_into_net(network, ms.load_checkpoint(str(load)))
    if missing:
        raise BackendError(f"{len(missing)} tensors of the model were not loaded from {load}: {', '.join(missing[:4])}")
    network.set_train(True)  # in this form the model returns its loss
    return network
