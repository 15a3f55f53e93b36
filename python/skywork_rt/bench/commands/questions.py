"""`skywork-rt bench eval BUNDLE`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skywork_rt.bench.commands.common import (
    BundlePath,
    JsonPath,
    Repeat,
    Runtime,
    Threads,
    all_threads,
    machine_of,
    one_subject,
    progress,
)

__all__ = ["eval_questions"]


def eval_questions(
    bundle: BundlePath,
    data: Annotated[Path, typer.Option("--data", "-d", help="The task's data, as for 'skywork-rt eval'.")],
    task: Annotated[str, typer.Option(help="mmlu, ceval or cmmlu.")] = "mmlu",
    subjects: Annotated[str, typer.Option(help="Only these, comma separated.", show_default="all")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Questions of each subject.")] = 20,
    shots: Annotated[int, typer.Option(min=0, help="Examples before each question.")] = 5,
    peer_python: Annotated[
        Path | None,
        typer.Option(help="Measure transformers, too: the Python of an environment with torch and transformers."),
    ] = None,
    peer_model: Annotated[
        Path | None, typer.Option(help="What transformers opens: the checkpoint's directory, or its GGUF file.")
    ] = None,
    json_path: JsonPath = None,
    runtime: Runtime = None,
    repeat: Repeat = 3,
    threads: Threads = None,
) -> None:
    """Measure the questions a second of an evaluation, beside transformers' own loop."""
    from contextlib import nullcontext

    from skywork_rt.bench import markdown
    from skywork_rt.bench.questions import TransformersPeer, measure_questions
    from skywork_rt.bench.rows import write_document
    from skywork_rt.errors import InvalidArgumentError
    from skywork_rt.evaluate.prompts import prompts_of
    from skywork_rt.evaluate.questions import read_task
    from skywork_rt.evaluate.tasks import TASKS

    if (peer_python is None) != (peer_model is None):
        raise InvalidArgumentError("--peer-python and --peer-model go together")
    if task not in TASKS:
        raise InvalidArgumentError(f"task is {task!r}, but must be {', '.join(TASKS)}")
    chosen = TASKS[task]
    named = chosen.chosen([name.strip() for name in subjects.split(",") if name.strip()])
    entries = read_task(chosen, data, named, chosen.layout.default_split, shots, limit)
    prompts = [parts for entry in entries for parts in prompts_of(chosen, entry)]
    subject = one_subject(bundle, runtime)
    machine = machine_of(threads or all_threads())
    opened = (
        TransformersPeer(peer_python, peer_model, machine["threads"]) if peer_python and peer_model else nullcontext()
    )
    with opened as peer, progress() as report:
        rates = measure_questions(bundle, subject, prompts, machine["threads"], repeat, peer, report)
    rows = rates.rows()
    if json_path is not None:
        write_document(json_path, machine, rows)
    print(markdown.machine_line(machine), markdown.rows_table(rows), *rates.comparisons(), sep="\n\n")
