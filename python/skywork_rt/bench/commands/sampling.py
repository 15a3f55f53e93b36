"""`skywork-rt bench sampling`"""

from __future__ import annotations

from typing import Annotated

import typer

from skywork_rt.bench.commands.common import JsonPath, Repeat, machine_of

__all__ = ["sampling"]


def sampling(
    json_path: JsonPath = None,
    vocab_size: Annotated[int, typer.Option(min=100, help="Skywork's by default.")] = 65519,
    repeat: Repeat = 3,
) -> None:
    """Measure what choosing a token costs on one core: our sampler's cases, and the recipe's numpy chain where it has
    the same."""
    from skywork_rt.bench import markdown
    from skywork_rt.bench.rows import write_document
    from skywork_rt.bench.sampling import comparisons, measure_sampling

    machine = machine_of(1)
    rows = measure_sampling(vocab_size, repeat)
    if json_path is not None:
        write_document(json_path, machine, rows)
    print(markdown.machine_line(machine), markdown.rows_table(rows), *comparisons(rows), sep="\n\n")
