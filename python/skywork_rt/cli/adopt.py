"""skywork-rt adopt"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["adopt"]


def adopt(
    full: Annotated[
        Path,
        typer.Argument(help="The graph that reads prompts, or its folder (mindir_full_checkpoint)."),
    ],
    incremental: Annotated[
        Path,
        typer.Argument(help="The graph that computes one token, or its folder (mindir_inc_checkpoint)."),
    ],
    out: Annotated[Path, typer.Argument(help="The bundle directory to write.")],
    tokenizer: Annotated[Path, typer.Option(help="tokenizer.model, tokenizer.json or a directory with one.")],
    config: Annotated[Path, typer.Option(help="The YAML of the export, such as run_skywork_13b.yaml.")],
    gears: Annotated[
        str,
        typer.Option(
            help="Batch and prompt length of the shapes of a full graph without sizes of its own: 1x256,1x4096."
        ),
    ] = "",
    step_gears: Annotated[
        str,
        typer.Option(
            help="Batch and active length of the shapes of such an incremental graph. Default: batches and lengths of "
            "--gears."
        ),
    ] = "",
    copy: Annotated[bool, typer.Option("--copy", help="Copy the graphs. Default: link to where they are.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Make a bundle around MindIR graphs that MindFormers has exported for Ascend, as they are."""
    from skywork_rt.cli.text import bundle_line
    from skywork_rt.export.adopt import adopt as run
    from skywork_rt.export.device_cache import parse_gears
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as progress:
        run(
            full,
            incremental,
            out,
            tokenizer=tokenizer,
            config=config,
            gears=parse_gears(gears),
            step_gears=parse_gears(step_gears, "--step-gears"),
            copy=copy,
            overwrite=overwrite,
            progress=progress,
        )
    print(bundle_line(out))
