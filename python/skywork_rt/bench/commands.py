"""The commands `skywork-rt bench BUNDLE`, `bench serve-sim BUNDLE`, `bench stall BUNDLE`, `bench width BUNDLE`,
`bench sampling` and `bench host`; those that measure servers are in `serving/`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.core import TyperGroup

from skywork_rt.bench.serving import commands as serving

if TYPE_CHECKING:
    from skywork_rt.bench.metrics import Metric
    from skywork_rt.bench.runner import Plan, Report
    from skywork_rt.bench.subjects import Subject

__all__ = ["app"]

BundlePath: TypeAlias = Annotated[Path, typer.Argument(help="Bundle directory, as 'skywork-rt export' writes it.")]
JsonPath: TypeAlias = Annotated[Path | None, typer.Option("--json", help="Also write the rows to this file.")]
Threads: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Default: all cores of the process.")]
Repeat: TypeAlias = Annotated[int, typer.Option(min=1, help="Times that everything is measured.")]
Runtimes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime", help="Only these, such as skywork_rt:lite or 'skywork_rt:native int8*'; may be repeated."
    ),
]

_LARGE_METRICS = ("load", "peak_rss", "prefill_512", "decode_b1", "ttft_512", "tpot_p50", "tpot_p90")


class _DefaultCommand(TyperGroup):
    """`bench BUNDLE` is short for `bench run BUNDLE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    cls=_DefaultCommand, no_args_is_help=True, help="Measure a bundle: 'bench BUNDLE', or one of the commands below."
)


app.command("serve")(serving.serve)
app.command("serve-load")(serving.serve_load)
app.command("routing")(serving.routing)


@app.command("run")
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
        Path | None, typer.Option(help="Draw the new_* metrics beside the published ones (PNG, SVG).")
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

    with _progress() as report, _terminated_like_interrupted():
        measurements = run_plan(plan, report)
    rows, machine = measurements.rows(), _machine(plan.threads, measurements.streams)
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


def _machine(threads: int, streams: Sequence[float] = ()) -> dict[str, Any]:
    """The machine, its memory stream included: measured in this run, it bounds what can be expected of it."""
    from skywork_rt.bench.machine import describe_machine
    from skywork_rt.bench.stats import summarise
    from skywork_rt.bench.stream import measure_stream

    stream = summarise(streams or [measure_stream(threads)]).median
    return {**describe_machine(threads), "memory_stream_mb_s": round(stream / 1e6)}


@app.command("serve-sim")
def serve_sim(
    bundle: BundlePath,
    json_path: JsonPath = None,
    runtime: Annotated[
        str | None, typer.Option(help="skywork_rt:lite or 'skywork_rt:native int8/f32'. Default: the bundle's first.")
    ] = None,
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
    from skywork_rt.bench.subjects import list_subjects, select_subjects

    ours = select_subjects(list_subjects(bundle), ["skywork_rt:*"])
    subject: Subject = select_subjects(ours, [runtime] if runtime else [])[0]
    machine = _machine(threads or _all_threads())
    with _progress() as report:
        plan = serve_report.ServePlan(bundle, subject, requests, slots, prompt_tokens, seed, repeat, machine["threads"])
        simulation = asyncio.run(serve_report.run(plan, report))
        native = subject.options["backend"] == "native"
        admission = asyncio.run(admission_report.run(plan, report)) if native else None
    rows = simulation.rows(subject) + (admission.rows(plan) if admission else [])
    if json_path is not None:
        write_document(json_path, machine, rows)
    print(serve_report.markdown(simulation, machine, rows, admission.lines() if admission else []))


@app.command("stall")
def stall(
    bundle: BundlePath,
    json_path: JsonPath = None,
    runtime: Annotated[
        str | None, typer.Option(help="skywork_rt:lite or 'skywork_rt:native int8/f32'. Default: the bundle's first.")
    ] = None,
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
    from skywork_rt.bench.subjects import list_subjects, select_subjects

    ours = select_subjects(list_subjects(bundle), ["skywork_rt:*"])
    subject: Subject = select_subjects(ours, [runtime] if runtime else [])[0]
    machine = _machine(threads or _all_threads())
    with _progress() as report:
        plan = stalling.StallPlan(bundle, subject, prompt_tokens, stretch or [4.0], repeat, machine["threads"])
        stalls = stalling.run(plan, report)
    if json_path is not None:
        write_document(json_path, machine, stalls.rows(subject))
    print(stalling.markdown(stalls, machine, subject))


@app.command("sampling")
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

    machine = _machine(1)
    rows = measure_sampling(vocab_size, repeat)
    if json_path is not None:
        write_document(json_path, machine, rows)
    print(markdown.machine_line(machine), markdown.rows_table(rows), *comparisons(rows), sep="\n\n")


@app.command("host")
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

    machine = _machine(threads)
    rows = measure_host(vocab_size, threads, repeat)
    if json_path is not None:
        write_document(json_path, machine, rows)
    print(markdown.machine_line(machine), markdown.rows_table(rows), *comparisons(rows), sep="\n\n")


@app.command("width")
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
    machine = _machine(threads or _all_threads())
    with _progress() as report:
        rates = measure_width(bundle, subjects, machine["threads"], repeat, report)
    rows = [row for found in rates for row in found.rows()]
    if json_path is not None:
        write_document(json_path, machine, rows)
    sentences = [sentence for found in rates for sentence in found.comparisons()]
    print(markdown.machine_line(machine), markdown.rows_table(rows), *sentences, sep="\n\n")


def _all_threads() -> int:
    from skywork_rt.bench.machine import usable_threads

    return usable_threads()


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM, as `timeout` sends it, also ends the run early and keeps what was measured."""
    import signal

    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _progress() -> Iterator[Report]:
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as bars:
        yield bars
