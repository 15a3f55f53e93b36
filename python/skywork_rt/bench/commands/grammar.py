"""`skywork-rt bench grammar`"""

from __future__ import annotations

from typing import Annotated

import typer

from skywork_rt.bench.commands.common import BundlePath, JsonPath, Repeat, Threads, all_threads, machine_of

__all__ = ["grammar"]


def grammar(
    bundle: BundlePath,
    json_path: JsonPath = None,
    rows: Annotated[int, typer.Option(min=1, help="Requests side by side.")] = 8,
    tokens: Annotated[int, typer.Option(min=8, help="Tokens of each.")] = 128,
    threads: Threads = None,
    repeat: Repeat = 3,
) -> None:
    """Measure what structured outputs cost: tokens a second of the same requests free, by a JSON schema and by a
    regular expression, in turns; compile times, times of masks, and what the engine's thread takes more."""
    from skywork_rt.api.generator import Generator
    from skywork_rt.bench import markdown
    from skywork_rt.bench.grammar import batches, check_counts, measure_grammars
    from skywork_rt.bench.rows import write_document
    from skywork_rt.support.progress import progress_bars

    used = threads or all_threads()
    with Generator(bundle, threads=used, max_batch=max(rows, 1)) as generator, progress_bars() as bars:
        check_counts(rows, tokens, generator)
        done, total = 0, batches(repeat)

        def report() -> None:
            nonlocal done
            done += 1
            bars("grammar", done, total)

        measured, sentences = measure_grammars(generator, rows, tokens, repeat, report)
    machine = machine_of(used)
    if json_path is not None:
        write_document(json_path, machine, measured)
    print(markdown.machine_line(machine), markdown.rows_table(measured), *sentences, sep="\n\n")
