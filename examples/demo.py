"""The main job, end to end: a real model to text on the screen.

Run by ``make demo``. Each step does nothing when its result is already there.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from rich.console import Console

import skywork_rt
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.checkpoints.samples import smollm2

PROMPTS = ("What is the capital of France?", "Explain in two sentences why the sky is blue.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True, help="where the exported model is, or goes")
    parser.add_argument("--backend", default="lite", help="lite, native or auto")
    parser.add_argument("--max-tokens", type=int, default=96)
    options = parser.parse_args()
    console = Console(highlight=False)
    if not options.bundle.exists():
        export(options.bundle, console)
    generate(options, console)
    if options.backend == "lite" and BundleInfo.open(options.bundle).section("weights"):
        compare_native(options, console)


def export(bundle: Path, console: Console) -> None:
    """SmolLM2-135M-Instruct's GGUF file (91 MB, from a Python package) to a bundle for both backends."""
    from skywork_rt.export import export as export_bundle
    from skywork_rt.support.progress import progress_bars

    source = smollm2()
    console.print(f"[bold]Exporting[/bold] {source.name} to {bundle}")
    bundle.parent.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        export_bundle(source, bundle, progress=progress)


def generate(options: argparse.Namespace, console: Console) -> None:
    started = time.perf_counter()
    with console.status("Loading the model"):
        generator = skywork_rt.Generator(options.bundle, backend=options.backend)
    loaded = time.perf_counter() - started
    with generator:
        for prompt in PROMPTS:
            stream(generator, prompt, options.max_tokens, console)
        console.print(f"\nload {loaded:.1f} s · resident {resident_mb():.0f} MB · peak {peak_mb():.0f} MB")
        console.print("[dim]What was tried to lower load time and memory: docs/decisions.md, Graphs[/dim]")


def compare_native(options: argparse.Namespace, console: Console) -> None:
    """The last answer again on our own kernels, which read the file's own weights, of 5.7 bits."""
    started = time.perf_counter()
    with skywork_rt.Generator(options.bundle, backend="native") as generator:
        loaded = time.perf_counter() - started
        messages = [{"role": "user", "content": PROMPTS[-1]}]
        timings = generator.chat(messages, temperature=0.0, max_tokens=options.max_tokens).timings
    rate = 1 / timings.tpot if timings.tpot else 0.0
    console.print(f"The last answer with --backend native: load {loaded:.2f} s · {rate:.1f} tokens/s")


def stream(generator: skywork_rt.Generator, prompt: str, max_tokens: int, console: Console) -> None:
    console.print(f"\n[bold]{prompt}[/bold]")
    messages = [{"role": "user", "content": prompt}]
    params = skywork_rt.SamplingParams(temperature=0.0, max_tokens=max_tokens)
    started = time.perf_counter()
    first = last = 0.0
    tokens = 0
    for piece in generator.chat(messages, params, stream=True):
        last = time.perf_counter()
        first = first or last
        tokens += len(piece.token_ids)
        sys.stdout.write(piece.text)
        sys.stdout.flush()
    rate = (tokens - 1) / (last - first) if tokens > 1 else 0.0
    ttft = 1e3 * (first - started)
    console.print(f"\n[dim]time to first token {ttft:.0f} ms · {rate:.1f} tokens/s · {tokens} tokens[/dim]")


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
