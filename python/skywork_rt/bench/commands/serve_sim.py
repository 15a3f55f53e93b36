"""`skywork-rt bench serve-sim BUNDLE`"""

from __future__ import annotations

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

__all__ = ["serve_sim"]


def serve_sim(
    bundle: BundlePath,
    json_path: JsonPath = None,
    runtime: Runtime = None,
    requests: Annotated[int, typer.Option(min=2, help="Requests in all.")] = 64,
    slots: Annotated[int, typer.Option(min=1, help="Sequences at once, for both ways of serving.")] = 8,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each prompt.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of lengths, prompts and arrivals.")] = 0,
    repeat: Repeat = 1,
    threads: Threads = None,
) -> None:
    """Serve many requests continuously and in static batches, all at once and as a Poisson stream; on the native
    backend also with admission by reservation and optimistic, in one small cache."""
    import asyncio

    from skywork_rt.bench import admission_report, serve_report
    from skywork_rt.bench.rows import write_document

    subject = one_subject(bundle, runtime)
    machine = machine_of(threads or all_threads())
    with progress() as report:
        plan = serve_report.ServePlan(bundle, subject, requests, slots, prompt_tokens, seed, repeat, machine["threads"])
        simulation = asyncio.run(serve_report.run(plan, report))
        native = subject.options["backend"] == "native"
        admission = asyncio.run(admission_report.run(plan, report)) if native else None
    rows = simulation.rows(subject) + (admission.rows(plan) if admission else [])
    if json_path is not None:
        write_document(json_path, machine, rows)
    print(serve_report.markdown(simulation, machine, rows, admission.lines() if admission else []))
