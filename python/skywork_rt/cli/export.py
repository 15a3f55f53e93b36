"""skywork-rt export"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywork_rt.cli.text import bundle_line, names

if TYPE_CHECKING:
    from skywork_rt.export.graph.ascend import AscendOptions

__all__ = ["export"]


def export(
    source: Annotated[Path, typer.Argument(help="A GGUF file, a Hugging Face directory, or a MindSpore .ckpt.")],
    out: Annotated[Path, typer.Argument(help="The bundle directory to write.")],
    targets: Annotated[
        str,
        typer.Option(
            "--for",
            help="Backends, comma separated: lite, native, ascend. Default: native, and lite if its graphs add at most "
            "1.5 GB.",
        ),
    ] = "",
    weights: Annotated[
        str,
        typer.Option(
            help="For native, comma separated, such as bf16,int8. Default: gguf, as in the file, for GGUF; else int8."
        ),
    ] = "",
    max_length: Annotated[int | None, typer.Option(help="Longest prompt + output. Default: the model's.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Of a .ckpt: config.json or a MindFormers YAML. Default: the one beside it.", show_default=False
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="Of a .ckpt: tokenizer.json, tokenizer.model or their directory. Default: beside it.",
            show_default=False,
        ),
    ] = None,
    graphs: Annotated[
        str,
        typer.Option(
            help="For lite: both, or full for the full graph alone (MindFormers' use_past False): half the size, but "
            "sequences of a batch are computed one after the other."
        ),
    ] = "both",
    graph_format: Annotated[
        str | None,
        typer.Option(
            help="For lite: ms, Lite's own format, or mindir, which loads slower, for less than 2 GiB. Default: ms.",
            show_default=False,
        ),
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            help="bundle, or mindformers: OUT/mindir_full_checkpoint/rank_0_graph.mindir and "
            "OUT/mindir_inc_checkpoint/rank_0_graph.mindir, each with its model.json."
        ),
    ] = "bundle",
    batch: Annotated[
        int | None, typer.Option(help="For ascend: rows of the cache, as MindFormers' batch_size. Default: 1.")
    ] = None,
    seq_length: Annotated[
        int | None, typer.Option(help="For ascend: tokens of a row, prompt and output together. Default: the model's.")
    ] = None,
    gears: Annotated[
        str, typer.Option(help="For ascend: further shapes, rows x tokens, such as 1x256,4x1024.", show_default=False)
    ] = "",
    cache_form: Annotated[
        str | None, typer.Option(help="For ascend: assign (the default), indexed or paged.", show_default=False)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="For ascend: float16 (the default), or float32 to verify.", show_default=False)
    ] = None,
    block_size: Annotated[
        int | None, typer.Option(help="For cache form paged: tokens of a block. Default: 16.")
    ] = None,
    num_blocks: Annotated[
        int | None, typer.Option(help="For cache form paged. Default: what all rows of full length take, and one.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
    verify: Annotated[bool, typer.Option(help="Compare one forward pass with the source's weights.")] = True,
) -> None:
    """Turn a checkpoint into a bundle that the runtime opens."""
    from skywork_rt.export import export as run
    from skywork_rt.support.progress import progress_bars

    given: dict[str, tuple[str, ...]] = {}
    if targets:
        given["targets"] = names(targets)
    if weights:
        given["weights"] = names(weights)
    ascend = _ascend(
        gears,
        batch=batch,
        seq_length=seq_length,
        form=cache_form,
        precision=precision,
        block_size=block_size,
        num_blocks=num_blocks,
    )
    with progress_bars() as progress:
        run(
            source,
            out,
            max_length=max_length,
            config=config,
            tokenizer=tokenizer,
            overwrite=overwrite,
            verify=verify,
            graphs=graphs,
            graph_format=graph_format,
            layout=layout,
            ascend=ascend,
            progress=progress,
            **given,
        )
    for bundle in written_bundles(out, layout):
        print(bundle_line(bundle))


def written_bundles(out: Path, layout: str) -> list[Path]:
    """The bundles of an export: `out` itself, or the folders in it."""
    if layout != "mindformers":
        return [out]
    from skywork_rt.export.mindformers_layout import FOLDERS

    return [out / folder for folder in FOLDERS.values() if (out / folder).is_dir()]


def _ascend(gears: str, **options: Any) -> AscendOptions | None:
    """None when none of the options was given."""
    from skywork_rt.export.device_cache import parse_gears
    from skywork_rt.export.graph.ascend.options import AscendOptions

    given = {name: value for name, value in options.items() if value is not None}
    if gears:
        given["gears"] = parse_gears(gears)
    return AscendOptions(**given) if given else None
