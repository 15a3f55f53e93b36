"""skywork-rt merge"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["merge"]


def merge(
    source: Annotated[Path, typer.Argument(help="The directory with rank_0, rank_1, … of a distributed run.")],
    out: Annotated[Path, typer.Argument(help="NAME.ckpt or NAME.safetensors.")],
    strategy: Annotated[
        Path,
        typer.Option(
            help="MindSpore's strategy file, or the directory with those of all pipeline stages.", show_default=False
        ),
    ],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: one a processor.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there, when all is done.")] = False,
) -> None:
    """Make one checkpoint of those of all ranks.

    An interrupted run goes on where it was when the same command is given again.
    """
    from skywork_rt.convert import merge as run
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as progress:
        report = run(source, strategy, out, workers=workers, overwrite=overwrite, progress=progress)
    print("\n".join(report.lines()))
