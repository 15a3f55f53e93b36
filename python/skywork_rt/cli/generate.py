"""skywork-rt generate"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywork_rt.cli import options as opt
from skywork_rt.cli.grammar_options import GrammarOptions
from skywork_rt.cli.terminal import read_stdin

if TYPE_CHECKING:
    from skywork_rt.api.generator import Generator
    from skywork_rt.api.results import RequestOutput

__all__ = ["generate"]


@opt.with_groups
def generate(
    bundle: opt.BundlePath,
    prompts: Annotated[
        list[str],
        typer.Argument(help="One or more prompts; - reads one from standard input, without the line break at its end."),
    ],
    sampling: opt.SamplingOptions,
    form: GrammarOptions,
    model: opt.ModelOptions,
    stream: Annotated[bool, typer.Option(help="Print text as it comes (one prompt).")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a prompt and line.")] = False,
) -> None:
    """Continue one prompt or many."""
    from skywork_rt.api.params import SamplingParams

    given = sampling.given() | form.given()
    SamplingParams(**given)  # wrong values are told before the model is loaded
    texts = [read_stdin() if prompt == "-" else prompt for prompt in prompts]
    with model.open(bundle) as generator:
        if as_json:
            for result in generator.generate(texts, progress=sys.stderr.isatty(), **given):
                print(json.dumps(to_json(result), ensure_ascii=False))
        elif stream and len(texts) == 1 and given.get("n", 1) == 1 and given.get("num_beams", 1) == 1:
            _stream(generator, texts[0], given)
        else:
            for result in generator.generate(texts, progress=sys.stderr.isatty(), **given):
                _print_result(result, len(texts) > 1)


def _stream(generator: Generator, text: str, given: dict[str, Any]) -> None:
    with generator.stream(text, **given) as stream:
        sys.stdout.write(text)
        for piece in stream:
            sys.stdout.write(piece.text)
            sys.stdout.flush()
        sys.stdout.write("\n")
        timings = stream.result.timings
    if sys.stderr.isatty():
        sys.stderr.write(
            f"time to first token {1e3 * timings.ttft:.0f} ms, {timings.tokens} tokens, "
            f"{1 / timings.tpot if timings.tpot else 0.0:.1f} tokens/s\n"
        )


def _print_result(result: RequestOutput, many: bool) -> None:
    for output in result.outputs:
        if many or len(result.outputs) > 1:
            print(f"--- {result.prompt!r}" + (f" [{output.index}]" if len(result.outputs) > 1 else ""))
        print((result.prompt or "") + output.text)


def to_json(result: RequestOutput) -> dict[str, Any]:
    """A result as JSON shows it."""
    import dataclasses

    values = dataclasses.asdict(result)
    values["timings"]["tpot"] = result.timings.tpot
    values["timings"]["tokens_per_second"] = result.timings.tokens_per_second
    return values
