"""`skywork-rt bench host`"""

from __future__ import annotations

from typing import Annotated

import typer

from skywork_rt.bench.commands.common import JsonPath, Repeat, machine_of

__all__ = ["host"]


def host(
    json_path: JsonPath = None,
    vocab_size: Annotated[int, typer.Option(min=2, help="Logits of a row.")] = 1024,
    repeat: Repeat = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads that may choose tokens.")] = 1,
) -> None:
    """Measure what a step costs beside its backend, a row: planning, choosing and delivering, at 1 to 1,000 rows."""
    from skywork_rt.bench import markdown
    from skywork_rt.bench.host import comparisons, measure_host
    from skywork_rt.bench.rows import write_document

    machine = machine_of(threads)
    rows = measure_host(vocab_size, threads, repeat)
    if json_path is not None:
        write_document(json_path, machine, rows)
    print(markdown.machine_line(machine), markdown.rows_table(rows), *comparisons(rows), sep="\n\n")
