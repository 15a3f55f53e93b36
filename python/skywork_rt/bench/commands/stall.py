"""`skywork-rt bench stall BUNDLE`"""

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

__all__ = ["stall"]


def stall(
    bundle: BundlePath,
    json_path: JsonPath = None,
    runtime: Runtime = None,
    prompt_tokens: Annotated[int, typer.Option(min=32, help="Tokens of the prompt that comes in.")] = 2000,
    stretch: Annotated[
        list[float] | None,
        typer.Option(help="Values of prefill_stretch, each measured by itself; may be repeated. Default: 4."),
    ] = None,
    repeat: Repeat = 1,
    threads: Threads = None,
) -> None:
    """Measure how long a running stream waits while a long prompt comes in, at what speed the prompt is read, and how
    soon a cancellation and a deadline are heard while it is."""
    from skywork_rt.bench import stall as stalling
    from skywork_rt.bench.rows import write_document

    subject = one_subject(bundle, runtime)
    machine = machine_of(threads or all_threads())
    with progress() as report:
        plan = stalling.StallPlan(bundle, subject, prompt_tokens, stretch or [4.0], repeat, machine["threads"])
        stalls = stalling.run(plan, report)
    if json_path is not None:
        write_document(json_path, machine, stalls.rows(subject))
    print(stalling.markdown(stalls, machine, subject))
