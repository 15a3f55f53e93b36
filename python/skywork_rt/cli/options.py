"""Options that several commands share, and the objects that they become."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from skywork_rt.generator import Generator

_MODEL = "Model"
_SAMPLING = "Sampling"

BundlePath: TypeAlias = Annotated[Path, typer.Argument(help="Bundle directory, as 'skywork-rt export' writes it.")]
Backend: TypeAlias = Annotated[str, typer.Option(help="auto, lite or native.", rich_help_panel=_MODEL)]
Device: TypeAlias = Annotated[str, typer.Option(help="cpu, or ascend.", rich_help_panel=_MODEL)]
Weights: TypeAlias = Annotated[
    str, typer.Option(help="auto, f32, bf16, int8 or int4 (native only).", rich_help_panel=_MODEL)
]
Threads: TypeAlias = Annotated[
    int | None, typer.Option(help="Default: all cores of the process.", rich_help_panel=_MODEL)
]
MaxLength: TypeAlias = Annotated[
    int | None, typer.Option(help="Longest prompt + output. Default: the model's.", rich_help_panel=_MODEL)
]

MaxTokens: TypeAlias = Annotated[int | None, typer.Option(help="Most new tokens.", rich_help_panel=_SAMPLING)]
MinTokens: TypeAlias = Annotated[int | None, typer.Option(help="No end before so many.", rich_help_panel=_SAMPLING)]
Temperature: TypeAlias = Annotated[float | None, typer.Option(help="0: greedy.", rich_help_panel=_SAMPLING)]
TopK: TypeAlias = Annotated[int | None, typer.Option(help="Keep the k best; 0: all.", rich_help_panel=_SAMPLING)]
TopP: TypeAlias = Annotated[float | None, typer.Option(help="Nucleus mass in (0, 1].", rich_help_panel=_SAMPLING)]
MinP: TypeAlias = Annotated[float | None, typer.Option(help="In [0, 1].", rich_help_panel=_SAMPLING)]
RepetitionPenalty: TypeAlias = Annotated[float | None, typer.Option(help="1: off.", rich_help_panel=_SAMPLING)]
PresencePenalty: TypeAlias = Annotated[float | None, typer.Option(help="In [-2, 2].", rich_help_panel=_SAMPLING)]
FrequencyPenalty: TypeAlias = Annotated[float | None, typer.Option(help="In [-2, 2].", rich_help_panel=_SAMPLING)]
Seed: TypeAlias = Annotated[int | None, typer.Option(help="Same seed, same text.", rich_help_panel=_SAMPLING)]
Stop: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="End before this text; may be repeated.", rich_help_panel=_SAMPLING)
]


def open_generator(
    bundle: Path, backend: str, device: str, weights: str, threads: int | None, max_length: int | None
) -> Generator:
    """Opens a bundle, showing on a terminal that it takes a while."""
    from rich.console import Console

    from skywork_rt.generator import Generator

    console = Console(stderr=True)
    if not console.is_terminal:
        return Generator(
            bundle, backend=backend, device=device, weights=weights, threads=threads, max_length=max_length
        )
    from skywork_rt._lite_runtime import prepare_lite

    prepare_lite(str(bundle), backend, device)  # it has bars of its own, which a spinner would disturb
    with console.status("Loading the model"):
        return Generator(
            bundle, backend=backend, device=device, weights=weights, threads=threads, max_length=max_length
        )


def given(**values: Any) -> dict[str, Any]:
    """The options that the user gave."""
    return {name: value for name, value in values.items() if value is not None}
