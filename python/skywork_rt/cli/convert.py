"""skywork-rt convert"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["convert"]


def convert(
    source: Annotated[
        Path,
        typer.Argument(help="A Hugging Face directory, or MindSpore's .ckpt or .safetensors (MindFormers' names)."),
    ],
    out: Annotated[
        Path, typer.Argument(help="NAME.ckpt or NAME.safetensors for MindSpore, else a Hugging Face directory.")
    ],
    dtype: Annotated[
        str | None, typer.Option(help="float16, bfloat16 or float32. Default: every tensor's own.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Of a MindSpore source: config.json or a MindFormers YAML. Default: the one beside it.",
            show_default=False,
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="tokenizer.json, tokenizer.model or their directory. Default: beside the source.", show_default=False
        ),
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="Weights of a Hugging Face directory: safetensors or bin.")
    ] = "safetensors",
    merge_lora: Annotated[
        Path | None,
        typer.Option(
            help="Add the low-rank updates (LoRA) of this MindFormers checkpoint, perhaps SOURCE itself.",
            show_default=False,
        ),
    ] = None,
    lora_alpha: Annotated[
        float | None, typer.Option(help="lora_alpha of the training. Default: the YAML's.", show_default=False)
    ] = None,
    crc: Annotated[bool, typer.Option("--crc", help="Append MindSpore's checksum to a .ckpt.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there, when all is done.")] = False,
) -> None:
    """Turn a Hugging Face checkpoint into one of MindSpore, or back.

    Tensor by tensor, in little memory, without MindSpore. An interrupted run goes on where it was when the same command
    is given again.
    """
    from skywork_rt.convert import convert as run
    from skywork_rt.support.progress import progress_bars

    with progress_bars() as progress:
        report = run(
            source,
            out,
            dtype=dtype,
            config=config,
            tokenizer=tokenizer,
            merge_lora=merge_lora,
            lora_alpha=lora_alpha,
            file_format=file_format,
            crc=crc,
            overwrite=overwrite,
            progress=progress,
        )
    print("\n".join(report.lines()))
