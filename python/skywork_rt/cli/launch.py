"""skywork-rt launch"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from skywork_rt.errors import InvalidArgumentError

__all__ = ["launch"]


def launch(
    command: Annotated[str, typer.Argument(help="In quotes: 'skywork-rt train --config X.yaml' or 'python X.py …'.")],
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="[RANK_TABLE] DEVICE_RANGE DEVICE_NUM", help="Such as table.json '[0,8]' 8."),
    ],
    log_dir: Annotated[Path, typer.Option("--log-dir", help="Folder of the ranks' logs.")] = Path("output/msrun_log"),
    port: Annotated[
        int | None, typer.Option(min=1024, max=65535, help="Port of the scheduler. Default: a free one.")
    ] = None,
) -> None:
    """Start the ranks of a program on this machine through msrun, with the arguments of run_singlenode.sh.

    When a rank fails, the others are ended at once and its reason is shown.
    """
    from skywork_rt.recipe.launch.devices import launch_devices
    from skywork_rt.recipe.launch.launcher import Launch, python_command, run_ranks
    from skywork_rt.recipe.launch.rank_table import read_table

    if len(arguments) not in (2, 3):
        raise InvalidArgumentError(
            f"launch takes COMMAND [RANK_TABLE] DEVICE_RANGE DEVICE_NUM; there are {len(arguments)} behind COMMAND"
        )
    *table, devices_text, count_text = arguments
    if not count_text.isdecimal() or int(count_text) < 1:
        raise InvalidArgumentError(f"DEVICE_NUM is {count_text!r}; it must be a whole number above 0")
    devices = launch_devices(devices_text, int(count_text))
    rank_table = Path(table[0]).absolute() if table else None
    if rank_table is not None and read_table(rank_table).size != len(devices):
        raise InvalidArgumentError(
            f"{rank_table.name} has {read_table(rank_table).size} ranks, and DEVICE_NUM says {len(devices)}; for "
            "several servers run msrun on each"
        )
    done = run_ranks(
        Launch(python_command(command), len(devices), log_dir.absolute(), rank_table, tuple(devices), port),
        print_line,
    )
    if done.stopped_by is not None:
        raise typer.Exit(128 + done.stopped_by)


def print_line(line: str) -> None:
    """A line of a rank, at once."""
    with contextlib.suppress(OSError):  # a closed terminal or pipe ends no training
        print(line, flush=True)
