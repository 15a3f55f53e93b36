"""The commands `skywork-rt bench serve`, `bench serve-load` and `bench routing`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywork_rt.bench.commands.common import JsonPath, file_to_write
from skywork_rt.errors import InvalidArgumentError

if TYPE_CHECKING:
    from skywork_rt.bench.serving.calls import Call, Shape
    from skywork_rt.bench.serving.measure import Results

__all__ = ["routing", "serve", "serve_load"]


def serve(
    url: Annotated[
        list[str] | None,
        typer.Option("--url", help="http://HOST:PORT of a server that runs, or NAME=URL; may be repeated."),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            "--start",
            help="NAME=COMMAND that starts a server on port {port}, such as "
            "'ours=skywork-rt serve BUNDLE --port {port}'; may be repeated.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model. Default: each server's first.")] = None,
    clients: Annotated[
        str | None, typer.Option(help="Numbers of clients that have one call each at a time. Default: 1,4,16.")
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(help="Calls a second that come as a Poisson stream, such as 1,2,4,inf (inf: all at once)."),
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Calls of each load. Default: 8 a client, at least 64.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds after which a load sends no more calls.")
    ] = None,
    prompt_tokens: Annotated[str, typer.Option(help="Tokens of a prompt: 64, or a range such as 16-512.")] = "64",
    output_tokens: Annotated[str, typer.Option(help="Tokens of an answer: 128, or a range.")] = "16-512",
    workload: Annotated[
        Path | None, typer.Option(help="File of calls, a line of JSON each, instead of made-up ones.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="Bundle of the model: prompts are ids of its vocabulary, those of bench serve-sim."),
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask /v1/chat/completions instead of /v1/completions.")] = False,
    shared_prefix: Annotated[
        int, typer.Option(min=0, help="Tokens that all prompts of a group have at their start.")
    ] = 0,
    groups: Annotated[int, typer.Option(min=1, help="Groups of prompts that share a start.")] = 1,
    slo: Annotated[str, typer.Option(help="Limits for goodput, such as ttft=500ms,tpot=50ms,e2e=10s.")] = "",
    extra: Annotated[str, typer.Option(help="JSON object of fields that every call carries.")] = '{"ignore_eos": true}',
    api_key: Annotated[
        str | None, typer.Option(help="Key that every call carries (Authorization: Bearer KEY).")
    ] = None,
    cpus: Annotated[str | None, typer.Option(help="Cores of the servers that are started, such as 0 or 0-3.")] = None,
    client_cpus: Annotated[str | None, typer.Option(help="Cores of the clients.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of lengths, prompts and arrivals.")] = 0,
    repeat: Annotated[int, typer.Option(min=1, help="Times that everything is measured, in turns.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one call may take.")] = 600.0,
    start_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a server may take to start.")] = 300.0,
    json_path: JsonPath = None,
    markdown_path: Annotated[
        Path | None,
        typer.Option("--markdown", callback=file_to_write, help="Also write what is printed to this file."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(callback=file_to_write, help="Draw throughput and latency by load (PNG, SVG).")
    ] = None,
) -> None:
    """Measure servers that speak OpenAI's protocol, side by side: time to the first token (TTFT), time of a token
    after it (TPOT), throughput, goodput under limits, and errors by code."""
    import asyncio

    from skywork_rt.bench.plot import require_matplotlib
    from skywork_rt.bench.serving.client import require_aiohttp
    from skywork_rt.bench.serving.limits import parse_limits
    from skywork_rt.bench.serving.load import parse_loads
    from skywork_rt.bench.serving.measure import Plan, measure
    from skywork_rt.bench.serving.processes import parse_cpus
    from skywork_rt.bench.serving.targets import parse_targets
    from skywork_rt.support.progress import progress_bars

    require_aiohttp()
    if plot is not None:
        require_matplotlib()
    plan = Plan(
        targets=parse_targets(url or [], start or []),
        loads=parse_loads(rates, clients or ("1,4,16" if rates is None else None)),
        shape=_shape(prompt_tokens, output_tokens, ids, chat, shared_prefix, groups),
        requests=requests,
        duration=duration,
        limits=parse_limits(slo),
        seed=seed,
        repeats=repeat,
        workload=_workload(workload),
        model=model,
        key=api_key,
        extra=_extra(extra),
        cpus=parse_cpus("--cpus", cpus) if cpus else None,
        client_cpus=parse_cpus("--client-cpus", client_cpus) if client_cpus else None,
        timeout=timeout,
        start_timeout=start_timeout,
    )
    with progress_bars() as report:
        results = asyncio.run(measure(plan, report))
    _show(results, json_path, markdown_path, plot)


def _show(results: Results, json_path: Path | None, markdown_path: Path | None, plot: Path | None) -> None:
    from skywork_rt.bench.machine import describe_machine, usable_threads
    from skywork_rt.bench.process import BenchError
    from skywork_rt.bench.rows import write_document
    from skywork_rt.bench.serving.picture import draw
    from skywork_rt.bench.serving.report import markdown, rows

    machine = describe_machine(usable_threads())
    text = markdown(results, machine)
    print(text)
    if json_path is not None:
        write_document(json_path, machine, rows(results))
    if markdown_path is not None:
        markdown_path.write_text(text + "\n", encoding="utf-8")
    if plot is not None:
        draw(plot, results)
    if not any(measured.figures.done for found in results.measured.values() for measured in found):
        raise BenchError("no call was answered; the errors above say why")


def _shape(prompts: str, outputs: str, ids: Path | None, chat: bool, shared: int, groups: int) -> Shape:
    from skywork_rt.bench.serving.calls import Shape, parse_lengths
    from skywork_rt.bundle.info import BundleInfo

    if ids is not None and chat:
        raise InvalidArgumentError("--ids and --chat exclude each other: a chat is made of texts")
    lengths = parse_lengths("--prompt-tokens", prompts)
    if shared >= lengths.least and shared:
        raise InvalidArgumentError(f"--shared-prefix is {shared}, but must be below --prompt-tokens, {lengths.least}")
    vocab = int(BundleInfo.open(ids).section("model")["vocab_size"]) if ids is not None else None
    return Shape(lengths, parse_lengths("--output-tokens", outputs), vocab, chat, shared, groups)


def _workload(path: Path | None) -> list[Call] | None:
    from skywork_rt.bench.serving.calls import read_calls

    return None if path is None else read_calls(path)


def _extra(text: str) -> dict[str, Any]:
    try:
        loaded = json.loads(text)
    except ValueError as error:
        raise InvalidArgumentError(f"--extra is no JSON: {error}") from None
    if not isinstance(loaded, dict):
        raise InvalidArgumentError(f"--extra is {text!r}, but must be a JSON object such as {{}}")
    return loaded


def routing(
    replicas: Annotated[int, typer.Option(min=1, help="Replicas, all alike.")] = 1000,
    slots: Annotated[int, typer.Option(min=1, help="Requests that a replica serves at once.")] = 16,
    cache_tokens: Annotated[int, typer.Option(min=16, help="Tokens that a replica's cache keeps.")] = 65536,
    requests: Annotated[int, typer.Option(min=1, help="Requests in all.")] = 100_000,
    applications: Annotated[int, typer.Option(min=1, help="System prompts, of which some are more popular.")] = 500,
    system_tokens: Annotated[int, typer.Option(min=0, help="Tokens of a system prompt.")] = 1024,
    turns: Annotated[int, typer.Option(min=1, help="Turns of a conversation.")] = 5,
    load: Annotated[
        float, typer.Option(min=0.01, max=10, help="Arrivals, as a share of what could be served without caches.")
    ] = 0.7,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals, prompts and choices.")] = 0,
    json_path: JsonPath = None,
) -> None:
    """Simulate routers over many replicas: how much of the prompts caches have, how even the replicas' work is, and
    (measured) what a choice costs."""
    from skywork_rt.bench.machine import describe_machine
    from skywork_rt.bench.routing_report import markdown, rows
    from skywork_rt.bench.routing_sim import ROUTERS, Fleet, Workload, make_requests, simulate
    from skywork_rt.bench.rows import write_document
    from skywork_rt.support.progress import progress_bars

    fleet = Fleet(replicas, slots, cache_tokens)
    workload = Workload(requests, applications, system_tokens, turns, load=load, seed=seed)
    outcomes = []
    with progress_bars() as report:
        made = make_requests(fleet, workload)
        for done, router in enumerate(ROUTERS):
            report("routing", done, len(ROUTERS))
            outcomes.append(simulate(fleet, made, router, seed))
        report("routing", len(ROUTERS), len(ROUTERS))
    print(markdown(fleet, workload, outcomes))
    if json_path is not None:
        write_document(json_path, describe_machine(1), rows(outcomes))


def serve_load(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory, as 'skywork-rt export' writes it.")],
    clients: Annotated[int, typer.Option(min=1, max=10_000, help="Clients that have a call each at a time.")] = 500,
    duration: Annotated[float, typer.Option(min=1, help="Seconds for the engine, and as many for the server.")] = 120.0,
    max_batch: Annotated[int, typer.Option(min=1, help="Sequences at once in the engine.")] = 64,
    backend: Annotated[str, typer.Option(help="Backend of the engine, as for generate.")] = "auto",
    prompt_tokens: Annotated[str, typer.Option(help="Tokens of a prompt, or a range.")] = "16-256",
    output_tokens: Annotated[str, typer.Option(help="Tokens of an answer, or a range.")] = "16-256",
    engine_cpu: Annotated[int, typer.Option(min=0, help="Core of the engine.")] = 0,
    other_cpu: Annotated[int, typer.Option(min=0, help="Core of the server's event loop and of the clients.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of lengths, prompts and kinds of clients.")] = 0,
    options: Annotated[str, typer.Option("--serve-options", help="More options of skywork-rt serve.")] = "",
) -> None:
    """Put hundreds of clients on a server, with and without streams, some leaving midway, and compare it with its
    engine alone: throughput, latency, errors, processor time a token, memory."""
    import asyncio

    from skywork_rt.bench.machine import describe_machine
    from skywork_rt.bench.markdown import machine_line
    from skywork_rt.bench.serving.calls import parse_lengths
    from skywork_rt.bench.serving.client import require_aiohttp
    from skywork_rt.bench.serving.mixed import MixedPlan, markdown, measure
    from skywork_rt.bench.serving.processes import parse_cpus
    from skywork_rt.support.progress import progress_bars

    require_aiohttp()
    for option, cpu in (("--engine-cpu", engine_cpu), ("--other-cpu", other_cpu)):
        parse_cpus(option, str(cpu))
    plan = MixedPlan(
        bundle,
        clients,
        duration,
        max_batch,
        backend,
        parse_lengths("--prompt-tokens", prompt_tokens),
        parse_lengths("--output-tokens", output_tokens),
        engine_cpu,
        other_cpu,
        seed,
        options,
    )
    with progress_bars() as report:
        outcome = asyncio.run(measure(plan, report))
    print(machine_line(describe_machine(1)), markdown(plan, outcome), sep="\n\n")
