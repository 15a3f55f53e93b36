"""skywork-rt eval"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywork_rt.cli import options as opt
from skywork_rt.cli.text import names

if TYPE_CHECKING:
    from skywork_rt.evaluate.scorer import Scorer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Evaluate a model: C-Eval, MMLU, CMMLU, perplexity.")

_TITLES = {"ceval": "C-Eval", "mmlu": "MMLU", "cmmlu": "CMMLU"}
"""Of the tasks of skywork_rt.evaluate, which is not imported for a command's help."""
_WIDTH = 120  # of the table in a file or pipe


def _task_command(task: str) -> Callable[..., None]:
    def command(
        data: Annotated[
            Path, typer.Option("--data", "-d", help="The data as it was downloaded: a directory, .zip or .tar.")
        ],
        model: opt.ModelOptions,
        bundle: Annotated[
            Path | None, typer.Argument(metavar="MODEL", help="Bundle directory; with --url none.", show_default=False)
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(
                "--out", "-o", help="Directory of the results. Default: eval-TASK-MODEL here.", show_default=False
            ),
        ] = None,
        shots: Annotated[int, typer.Option(min=0, help="Examples before each question, from the split dev.")] = 5,
        subjects: Annotated[str, typer.Option(help="Only these, comma separated.", show_default="all")] = "",
        limit: Annotated[
            int | None, typer.Option(min=1, help="Only the first so many questions a subject.", show_default=False)
        ] = None,
        split: Annotated[
            str | None,
            typer.Option(help="The questions to ask. Default: the one that is published about.", show_default=False),
        ] = None,
        tokenizer: Annotated[
            Path | None,
            typer.Option(
                help="Instead of the bundle's, or the server's own: tokenizer.model, tokenizer.json, a directory, a "
                "GGUF file."
            ),
        ] = None,
        batch: Annotated[
            int | None, typer.Option(min=1, help="The same as --max-batch: questions computed at once.")
        ] = None,
        url: Annotated[
            str | None, typer.Option(help="A server with OpenAI's /v1/completions, instead of MODEL.")
        ] = None,
        model_name: Annotated[
            str | None, typer.Option("--model", help="With --url: the model's name there. Default: its only one.")
        ] = None,
        api_key_env: Annotated[
            str | None, typer.Option(help="With --url: the environment variable that has the API key.")
        ] = None,
        concurrency: Annotated[
            int | None,
            typer.Option(min=1, max=256, help="With --url: requests at once. Default: 8.", show_default=False),
        ] = None,
        resume: Annotated[
            bool, typer.Option("--resume/--fresh", help="Go on where a run was killed, or replace its results.")
        ] = True,
    ) -> None:
        from skywork_rt.cli.scorers import ServerOptions, open_scorer
        from skywork_rt.evaluate.questions import read_task
        from skywork_rt.evaluate.tasks import TASKS

        chosen = TASKS[task]
        asked = chosen.check_split(split)
        read = read_task(chosen, data, chosen.chosen(names(subjects)), asked, shots, limit)
        server = ServerOptions(url, model_name, api_key_env, concurrency)
        with open_scorer(bundle, model, tokenizer, batch, server) as scorer:
            where = out or Path(f"eval-{task}-{_file_name(scorer.name)}")
            _evaluate(chosen, read, scorer, asked, shots, limit, where, fresh=not resume)

    command.__name__ = task
    command.__doc__ = f"Evaluate on {_TITLES[task]}, five-shot as Skywork's published score."
    return opt.with_groups(command)


for _name in _TITLES:
    app.command(_name)(_task_command(_name))


@app.command("ppl")
@opt.with_groups
def ppl(
    bundle: opt.BundlePath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A text, or JSON lines, in UTF-8.")],
    model: opt.ModelOptions,
    window: Annotated[
        int | None, typer.Option(help="Tokens that are seen at once. Default: all that the model takes.")
    ] = None,
    stride: Annotated[int | None, typer.Option(help="Tokens from window to window. Default: half a window.")] = None,
    by_tokens: Annotated[
        bool | None, typer.Option("--tokens/--bytes", help="Print only the perplexity per token, or only per byte.")
    ] = None,
    kind: Annotated[str, typer.Option("--format", help="text, jsonl, or auto: by the file's name.")] = "auto",
    field: Annotated[str, typer.Option(help="Of JSON lines: the field that has the text.")] = "text",
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Instead of the bundle's: tokenizer.model, tokenizer.json, a directory, a GGUF file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the perplexity of a text, in windows."""
    import json

    from skywork_rt.cli.scorers import open_tokenizer
    from skywork_rt.evaluate.perplexity import measure_perplexity
    from skywork_rt.support.progress import progress_bars

    own = open_tokenizer(tokenizer) if tokenizer is not None else None
    with model.open(bundle) as generator, progress_bars() as bars:
        found = measure_perplexity(
            generator, file, window=window, stride=stride, kind=kind, field=field, tokenizer=own, progress=bars
        )
    if as_json:
        print(json.dumps(found.to_json()))
        return
    if by_tokens is not False:
        print(f"perplexity per token  {found.per_token:.4f}  ({found.tokens} tokens, {found.windows} windows)")
    if by_tokens is not True:
        bits = f"{found.bits_per_byte:.4f} bits per byte"
        print(f"perplexity per byte   {found.per_byte:.4f}  ({bits}, {found.bytes} bytes)")


def _evaluate(
    task: Any, data: Any, scorer: Scorer, split: str, shots: int, limit: int | None, out: Path, *, fresh: bool
) -> None:
    from rich.console import Console

    from skywork_rt.evaluate.results import ResultsDirectory
    from skywork_rt.evaluate.run import evaluate, settings_of
    from skywork_rt.support.progress import progress_bars

    settings = settings_of(task, data, scorer, split, shots, limit)
    try:
        with ResultsDirectory(out, settings, fresh=fresh) as directory, progress_bars() as bars:
            summary = evaluate(task, data, scorer, directory, settings, bars)
    except KeyboardInterrupt:
        print(f"what was answered is kept in {out}: the same command goes on", file=sys.stderr)
        raise
    terminal = Console(highlight=False)
    console = terminal if terminal.is_terminal else Console(width=_WIDTH, soft_wrap=True, highlight=False)
    console.print(summary.table())
    for remark in summary.remarks():
        console.print(remark)
    console.print(f"{out}: a CSV a subject, and summary.json")


def _file_name(model: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in model).strip(".-") or "model"
