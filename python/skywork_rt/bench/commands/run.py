"""`skywork-rt bench BUNDLE`: every runtime of a bundle side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skywork_rt.bench.commands.common import (
    BundlePath,
    JsonPath,
    Runtimes,
    Threads,
    file_to_write,
    machine_of,
    progress,
    terminated_like_interrupted,
)

if TYPE_CHECKING:
    from skywork_rt.bench.metrics import Metric
    from skywork_rt.bench.runner import Plan
    from skywork_rt.bench.subjects import Subject

__all__ = ["run"]

_LARGE_METRICS = ("load", "peak_rss", "prefill_512", "decode_b1", "ttft_512", "tpot_p50", "tpot_p90")


def run(
    bundle: BundlePath,
    json_path: JsonPath = None,
    runtime: Runtimes = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Only these, such as decode_b1 or 'new_*'; may be repeated."),
    ] = None,
    repeat: Annotated[
        int | None, typer.Option(min=1, help="Times that everything is measured. Default: 3, or 1 for a large model.")
    ] = None,
    threads: Threads = None,
    base: Annotated[
        str | None, typer.Option(help="Runtime that the ratios are taken by. Default: the first one measured.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(callback=file_to_write, help="Draw the new_* metrics beside the published ones (PNG, SVG)."),
    ] = None,
    peer: Annotated[
        Path | None,
        typer.Option(
            "--peer", help="Measure ik_llama.cpp, too (pip install ik-llama-cpp-python), on this GGUF file, repacked."
        ),
    ] = None,
    recipe_length: Annotated[
        int | None,
        typer.Option(help="Sequence length that the recipe pads to. Default: the longest sequence that is measured."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One repeat, without decode_b16 and the long new_* metrics.")
    ] = False,
) -> None:
    """Measure every runtime of a bundle side by side: JSON rows, Markdown tables, ratios.

    Of a large model, which reads more than 2 GB of weights a token, one sequence is measured, once, unless --metric and
    --repeat ask for more.
    """
    from skywork_rt.bench.metrics import select_metrics
    from skywork_rt.bench.plot import require_matplotlib
    from skywork_rt.bench.subjects import LARGE_BYTES, list_subjects, peer_subject, select_subjects

    if plot is not None:
        require_matplotlib()
    peers = [] if peer is None else [peer_subject(bundle, peer)]
    subjects = [*select_subjects(list_subjects(bundle), runtime or []), *peers]
    large = min((subject.weight_bytes for subject in subjects), default=0) > LARGE_BYTES
    metrics = select_metrics(metric or (_LARGE_METRICS if large else []))
    if quick and not metric:
        metrics = [m for m in metrics if m.name not in ("decode_b16", "new_256", "new_512", "new_1024")]
    plan = _plan(bundle, subjects, metrics, repeat or (1 if quick or large else 3), threads, recipe_length, large)
    bases = select_subjects(plan.subjects, [base] if base else [])
    _measure_and_print(plan, json_path, bases, plot)


def _plan(
    bundle: Path,
    subjects: Sequence[Subject],
    metrics: Sequence[Metric],
    repeats: int,
    threads: int | None,
    recipe_length: int | None,
    large: bool,
) -> Plan:
    from skywork_rt.bench.machine import usable_threads
    from skywork_rt.bench.runner import Plan
    from skywork_rt.bundle.info import BundleInfo

    return Plan(
        bundle=bundle,
        subjects=subjects,
        metrics=metrics,
        repeats=repeats,
        threads=threads or usable_threads(),
        model_length=int(BundleInfo.open(bundle).section("model")["max_length"]),
        recipe_length=recipe_length,
        fresh_processes=large,
    )


def _measure_and_print(plan: Plan, json_path: Path | None, bases: Sequence[Subject], plot: Path | None) -> None:
    from skywork_rt.bench import findings, markdown
    from skywork_rt.bench.plot import plot_seed_table
    from skywork_rt.bench.rows import write_document
    from skywork_rt.bench.runner import run_plan
    from skywork_rt.errors import BackendError

    with progress() as report, terminated_like_interrupted():
        measurements = run_plan(plan, report)
    rows, machine = measurements.rows(), machine_of(plan.threads, measurements.streams)
    if json_path is not None:
        write_document(json_path, machine, rows)
    for note in measurements.notes:
        typer.echo(f"note: {note}", err=True)
    if not measurements.samples:
        raise BackendError("no runtime could be measured; the notes above say why")
    print(markdown.machine_line(machine), markdown.rows_table(rows), sep="\n\n")
    measured = measurements.subjects
    base = next((subject for subject in bases if subject in measured), measured[0])
    if len(measured) > 1:
        print("", markdown.ratio_table(measurements, base), sep="\n")
    if table := markdown.seed_table(measurements):
        print("", table, sep="\n")
    if found := findings.find(measurements):
        print("", markdown.findings_table(found), sep="\n")
    if plot is not None:
        plot_seed_table(plot, measurements)
