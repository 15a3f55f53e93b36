"""`skywork-rt bench width BUNDLE`"""

from __future__ import annotations

from typing import Annotated

import typer

from skywork_rt.bench.commands.common import BundlePath, JsonPath, Repeat, Threads, all_threads, machine_of, progress

__all__ = ["width"]


def width(
    bundle: BundlePath,
    json_path: JsonPath = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime", help="Only these, such as 'skywork_rt:native int8*'; may be repeated. Default: native."
        ),
    ] = None,
    repeat: Repeat = 3,
    threads: Threads = None,
) -> None:
    """Measure decoding of 8, 16 and 64 rows after 64 tokens beside a prompt with the logits of every position."""
    from skywork_rt.bench import markdown
    from skywork_rt.bench.rows import write_document
    from skywork_rt.bench.subjects import list_subjects, select_subjects
    from skywork_rt.bench.width import measure_width

    ours = select_subjects(list_subjects(bundle), ["skywork_rt:*"])
    subjects = select_subjects(ours, runtime or ["skywork_rt:native"])
    machine = machine_of(threads or all_threads())
    with progress() as report:
        rates = measure_width(bundle, subjects, machine["threads"], repeat, report)
    rows = [row for found in rates for row in found.rows()]
    if json_path is not None:
        write_document(json_path, machine, rows)
    sentences = [sentence for found in rates for sentence in found.comparisons()]
    print(markdown.machine_line(machine), markdown.rows_table(rows), *sentences, sep="\n\n")
