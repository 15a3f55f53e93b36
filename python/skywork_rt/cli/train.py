"""skywork-rt train"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from skywork_rt.errors import InvalidArgumentError

if TYPE_CHECKING:
    from skywork_rt.recipe.train.plan import Plan

__all__ = ["train"]

_STOPPED = 128
_GO_ON = "--resume-training True goes on from there"


def train(
    config: Annotated[
        str, typer.Option(help="A YAML in MindFormers' keys, or the name of one that comes with the package.")
    ],
    run_mode: Annotated[
        str | None, typer.Option("--run-mode", "--run_mode", help="train, finetune or eval.", show_default=False)
    ] = None,
    load_checkpoint: Annotated[
        str | None,
        typer.Option(
            "--load-checkpoint",
            "--load_checkpoint",
            help="A .ckpt, MindSpore's .safetensors, a Hugging Face directory, or a directory of rank_N folders.",
        ),
    ] = None,
    train_dataset: Annotated[
        str | None,
        typer.Option("--train-dataset", "--train_dataset", help="MindRecord file or folder to train on."),
    ] = None,
    eval_dataset: Annotated[
        str | None,
        typer.Option("--eval-dataset", "--eval_dataset", help="MindRecord file or folder to evaluate on."),
    ] = None,
    output_dir: Annotated[
        str | None,
        typer.Option("--output-dir", "--output_dir", help="Folder of checkpoints, log and curve. Default: ./output."),
    ] = None,
    auto_trans_ckpt: Annotated[
        str | None,
        typer.Option(
            "--auto-trans-ckpt",
            "--auto_trans_ckpt",
            metavar="BOOL",
            help="Split or merge the checkpoint for this training's ranks first.",
        ),
    ] = None,
    use_parallel: Annotated[
        str | None,
        typer.Option(
            "--use-parallel",
            "--use_parallel",
            metavar="BOOL",
            help="Train with as many ranks as parallel_config says; outside of msrun they are started.",
        ),
    ] = None,
    resume_training: Annotated[
        str | None,
        typer.Option(
            "--resume-training",
            "--resume_training",
            metavar="BOOL",
            help="Go on with the training that the checkpoint is of; without --load-checkpoint the last one in the "
            "output folder. A file name takes that file of every rank.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the YAML, such as runner_config.epochs=3; repeat."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove an earlier training's checkpoints from the output folder.")
    ] = False,
    peak_tflops: Annotated[
        float | None,
        typer.Option(min=0.001, help="Peak of a card in 10^12 operations a second, where its name is not known."),
    ] = None,
) -> None:
    """Train, fine-tune or evaluate a model with MindFormers."""
    from skywork_rt.recipe.train.plan import TrainOptions, make_plan
    from skywork_rt.recipe.train.settings import parse_change

    options = TrainOptions(
        changes=[parse_change(change) for change in changes or []],
        run_mode=run_mode,
        load_checkpoint=load_checkpoint,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        output_dir=output_dir,
        auto_trans_ckpt=_flag("--auto-trans-ckpt", auto_trans_ckpt),
        use_parallel=_flag("--use-parallel", use_parallel),
        resume_training=_flag_or_name(resume_training),
        overwrite=overwrite,
        peak_tflops=peak_tflops,
    )
    _run(make_plan(config, options))


def _run(plan: Plan) -> None:
    from skywork_rt.recipe.train.output_lock import hold
    from skywork_rt.recipe.train.ranks import role

    for warning in plan.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    # Rank 0 of a training under msrun holds the folder for all; an evaluation may go beside a training.
    writes = plan.mode != "eval" and role() != "scheduler" and plan.rank == 0
    with hold(plan.output) if writes else contextlib.nullcontext():
        if plan.settings.get("use_parallel") and role() == "alone":
            _launch(plan)
        else:
            _run_here(plan)


def _run_here(plan: Plan) -> None:
    from skywork_rt.recipe.train.ranks import role
    from skywork_rt.recipe.train.run import run_rank
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as progress:
        outcome = run_rank(plan, progress)
    if outcome.stopped_by is not None:
        print(f"stopped as asked (Ctrl-C, SIGTERM or SIGHUP) after step {outcome.step}, which is saved; {_GO_ON}")
        if role() == "alone":  # msrun kills the other ranks, which still save, when one ends with another status than 0
            raise typer.Exit(_STOPPED + outcome.stopped_by)
    elif plan.mode != "eval" and outcome.loss is not None:
        speed = f", {outcome.tokens_per_second:,.0f} tokens/s a card" if outcome.tokens_per_second else ""
        print(f"trained to step {outcome.step}, loss {outcome.loss:.4f}{speed}: {plan.output.folder}")


def _launch(plan: Plan) -> None:
    """Starts the ranks of this training, as msrun does when the user calls it."""
    from skywork_rt.cli.launch import print_line
    from skywork_rt.recipe.launch.launcher import run_ranks
    from skywork_rt.recipe.train.launched import launch_of
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as progress:
        launch = launch_of(plan, progress)
        done = run_ranks(launch, print_line)
    if done.stopped_by is not None:
        raise typer.Exit(_STOPPED + done.stopped_by)


_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _flag(name: str, given: str | None) -> bool | None:
    """True and False as the recipe's command line has them."""
    if given is None:
        return None
    if given.lower() not in _WORDS:
        raise InvalidArgumentError(f"{name} {given}: write True or False")
    return _WORDS[given.lower()]


def _flag_or_name(given: str | None) -> bool | str | None:
    if given is None or given.lower() in _WORDS:
        return _flag("--resume-training", given)
    return given
