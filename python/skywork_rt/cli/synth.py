"""skywork-rt synth"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skywork_rt.cli.text import bundle_line, names

__all__ = ["synth"]


def synth(
    out: Annotated[Path, typer.Argument(help="The bundle directory to write.")],
    like: Annotated[
        str,
        typer.Option(help="Shape: skywork-13b, llama-2-7b, mistral-7b, qwen2-7b, smollm2-135m or tiny."),
    ],
    weights: Annotated[str, typer.Option(help="Weights, comma separated, such as int4,int8.")] = "int4",
    layers: Annotated[int | None, typer.Option(min=1, help="So many layers instead of the shape's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Write a bundle of random weights for native: the speed and memory of a model without the model."""
    from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
    from skywork_rt.export.synthetic_bundle import write_random_bundle
    from skywork_rt.support.progress import progress_bars

    config = preset(like)
    if layers is not None and layers != config.layers:
        config = with_changes(config, name=f"{config.name}-{layers}-layers", layers=layers)
    with progress_bars() as progress:
        write_random_bundle(out, config, names(weights), seed, overwrite=overwrite, progress=progress)
    print(bundle_line(out))
