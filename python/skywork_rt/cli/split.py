"""skywork-rt split"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skywork_rt.errors import InvalidArgumentError

__all__ = ["split"]


def split(
    source: Annotated[
        Path, typer.Argument(help="A whole .ckpt or .safetensors of MindSpore, or a directory with rank_0, rank_1, …")
    ],
    out: Annotated[Path, typer.Argument(help="The directory to write, with rank_0, rank_1, … in it.")],
    strategy: Annotated[
        Path | None,
        typer.Option(
            help="MindSpore's strategy file, or the directory with those of all pipeline stages.", show_default=False
        ),
    ] = None,
    data_parallel: Annotated[int | None, typer.Option(min=1, help="Instead of --strategy.", show_default="1")] = None,
    model_parallel: Annotated[int | None, typer.Option(min=1, help="Instead of --strategy.", show_default="1")] = None,
    pipeline_stages: Annotated[int | None, typer.Option(min=1, help="Instead of --strategy.", show_default="1")] = None,
    optimizer_shard: Annotated[
        bool, typer.Option("--optimizer-shard", help="Instead of --strategy: parallel_optimizer.")
    ] = False,
    split_vocabulary: Annotated[
        bool,
        typer.Option("--split-vocabulary", help="vocab_emb_dp False: embeddings and head too, where they divide."),
    ] = False,
    source_strategy: Annotated[
        Path | None, typer.Option(help="How SOURCE is divided, when it is a directory.", show_default=False)
    ] = None,
    prefix: Annotated[str, typer.Option(help="The files are rank_N/PREFIXN.ckpt.")] = "checkpoint_",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: one a processor.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there, when all is done.")] = False,
) -> None:
    """Divide a checkpoint of MindSpore among the ranks of a distributed run.

    By a strategy file, or by the numbers of MindFormers' parallel_config, whose strategy files are then written to
    OUT/strategy. An interrupted run goes on where it was when the same command is given again.
    """
    from skywork_rt.convert import Parallelism
    from skywork_rt.convert import split as run
    from skywork_rt.support.progress import progress_bars

    numbers = (data_parallel, model_parallel, pipeline_stages)
    given = any(number is not None for number in numbers) or optimizer_shard or split_vocabulary
    if (strategy is not None) == given:
        raise InvalidArgumentError(
            "give either --strategy, or one or more of --data-parallel, --model-parallel, --pipeline-stages and "
            "--optimizer-shard"
        )
    parallelism = Parallelism(
        data_parallel or 1, model_parallel or 1, pipeline_stages or 1, optimizer_shard, not split_vocabulary
    )
    with progress_bars() as progress:
        report = run(
            source,
            out,
            strategy or parallelism,
            source_strategy=source_strategy,
            prefix=prefix,
            workers=workers,
            overwrite=overwrite,
            progress=progress,
        )
    print("\n".join(report.lines()))
