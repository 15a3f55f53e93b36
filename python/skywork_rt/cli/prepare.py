"""skywork-rt prepare"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from skywork_rt.cli.text import names

__all__ = ["prepare"]

_SHOWN = 20


def prepare(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Files, folders (all text and JSON lines in them), or - for standard input."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The MindRecord to write, with its index OUT.db beside it.")],
    tokenizer: Annotated[
        Path, typer.Option(help="tokenizer.model, tokenizer.json, a checkpoint's directory or a GGUF file.")
    ],
    seq_length: Annotated[int, typer.Option(help="Tokens that the model sees at once; a record has one more.")] = 4096,
    kind: Annotated[
        str,
        typer.Option(
            "--format", help="jsonl (objects with content and summary, or with text), text, or auto: by the name."
        ),
    ] = "auto",
    fields: Annotated[
        str, typer.Option(help="JSON fields that make a document's text, in order, comma separated.")
    ] = "",
    document: Annotated[
        str, typer.Option(help="What of a text is one document: line, paragraph (between empty lines) or file.")
    ] = "line",
    layout: Annotated[
        str, typer.Option(help="packed: all documents in one stream. document: each in records of its own.")
    ] = "packed",
    recipe_layout: Annotated[
        bool,
        typer.Option(
            "--recipe-layout",
            help="The records of MindFormers' skywork_dataprocess.py exactly: no eos, the rest of every thousand "
            "documents dropped, a trained pad at the end of each.",
        ),
    ] = False,
    eos: Annotated[bool, typer.Option(help="End every document with the eos token.")] = True,
    mask_prompt: Annotated[
        bool, typer.Option("--mask-prompt", help="Train the last field alone: the summary, not its content.")
    ] = False,
    pad_id: Annotated[
        int | None, typer.Option(help="Fills up the last record. Default: the tokenizer's pad, else 0.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the first bad line; else they are counted and listed.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes that tokenise. 0: one a core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Turn texts into MindRecord for training."""
    from skywork_rt.errors import InvalidArgumentError
    from skywork_rt.recipe.prepare import Report
    from skywork_rt.recipe.prepare import prepare as run
    from skywork_rt.support.progress import progress_bars

    if recipe_layout and layout != "packed":
        raise InvalidArgumentError(f"--recipe-layout and --layout {layout} exclude each other")
    with progress_bars() as progress:
        report: Report = run(
            inputs,
            out,
            tokenizer=tokenizer,
            seq_length=seq_length,
            layout="recipe" if recipe_layout else layout,
            kind=kind,  # type: ignore[arg-type]  # checked by name
            document=document,  # type: ignore[arg-type]
            fields=names(fields),
            eos=eos,
            mask_prompt=mask_prompt,
            pad_id=pad_id,
            strict=strict,
            workers=workers or len(os.sched_getaffinity(0)),
            overwrite=overwrite,
            progress=progress,
        )
    if report.bad:
        print(f"{report.bad} bad lines were left out:", file=sys.stderr)
        for line in report.bad_lines[:_SHOWN]:
            print(f"  {line}", file=sys.stderr)
        if report.bad > _SHOWN:
            print(f"  and {report.bad - _SHOWN} more", file=sys.stderr)
    left = f", {report.dropped} tokens dropped" if report.dropped else ""
    print(
        f"{out}  {report.records} records of {seq_length} + 1 tokens from {report.documents} documents "
        f"({report.tokens} tokens, {report.trained} trained an epoch{left}; {report.empty} empty)"
    )
