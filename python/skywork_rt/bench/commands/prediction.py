"""`skywork-rt bench plan BUNDLE`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skywork_rt.bench.commands.common import JsonPath, Repeat, Threads, all_threads, machine_of, progress

__all__ = ["plan"]


def plan(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles with int8 or int4 weights.", metavar="BUNDLE…")],
    json_path: JsonPath = None,
    repeat: Repeat = 3,
    threads: Threads = None,
) -> None:
    """Predict decoding and prompts of bundles from their shapes and a probe of this processor, and measure them."""
    from skywork_rt.bench import markdown
    from skywork_rt.bench.prediction import comparisons, predict
    from skywork_rt.bench.rows import write_document

    machine = machine_of(threads or all_threads())
    with progress() as report:
        predictions = predict(bundles, machine["threads"], repeat, report)
    if json_path is not None:
        write_document(json_path, machine, [row for one in predictions for row in one.rows()])
    print(markdown.machine_line(machine), "", *comparisons(predictions), sep="\n")
