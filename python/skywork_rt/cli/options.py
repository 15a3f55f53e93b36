"""Options that several commands share, declared once, and the objects that they become."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

import typer

from skywork_rt.cli.text import core_list

if TYPE_CHECKING:
    from skywork_rt.generator import Generator

__all__ = ["SAMPLING", "BundlePath", "ModelOptions", "SamplingOptions", "given", "with_groups"]

SAMPLING = "Sampling"
"""The panel of the help that sampling options stand in."""
_MODEL = "Model"

BundlePath: TypeAlias = Annotated[Path, typer.Argument(help="Bundle directory, as 'skywork-rt export' writes it.")]


def _option(help_text: str, panel: str) -> Any:
    return typer.Option(help=help_text, rich_help_panel=panel)


@dataclass(frozen=True)
class ModelOptions:
    """How a bundle is opened."""

    backend: Annotated[str, _option("auto, lite or native.", _MODEL)] = "auto"
    device: Annotated[str, _option("cpu, or ascend.", _MODEL)] = "cpu"
    weights: Annotated[str, _option("auto, or one of the bundle's, such as int8 (native only).", _MODEL)] = "auto"
    threads: Annotated[int | None, _option("Default: all cores of the process.", _MODEL)] = None
    affinity: Annotated[str | None, _option("Only on these cores, such as 0,2-5.", _MODEL)] = None
    max_length: Annotated[int | None, _option("Longest prompt + output. Default: the model's.", _MODEL)] = None

    def open(self, bundle: Path) -> Generator:
        """Opens a bundle, showing on a terminal that it takes a while."""
        from rich.console import Console

        from skywork_rt.generator import Generator

        options = dataclasses.asdict(self)
        options["affinity"] = None if self.affinity is None else core_list(self.affinity)
        console = Console(stderr=True)
        if not console.is_terminal:
            return Generator(bundle, **options)
        from skywork_rt._lite_runtime import prepare_lite

        prepare_lite(str(bundle), self.backend, self.device)  # it has bars of its own, which a spinner would disturb
        with console.status("Loading the model"):
            return Generator(bundle, **options)


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen; None leaves the model's own default."""

    max_tokens: Annotated[int | None, _option("Most new tokens.", SAMPLING)] = None
    min_tokens: Annotated[int | None, _option("No end before so many.", SAMPLING)] = None
    temperature: Annotated[float | None, _option("0: greedy.", SAMPLING)] = None
    top_k: Annotated[int | None, _option("Keep the k best; 0: all.", SAMPLING)] = None
    top_p: Annotated[float | None, _option("Nucleus mass in (0, 1].", SAMPLING)] = None
    min_p: Annotated[float | None, _option("In [0, 1].", SAMPLING)] = None
    repetition_penalty: Annotated[float | None, _option("1: off.", SAMPLING)] = None
    presence_penalty: Annotated[float | None, _option("In [-2, 2].", SAMPLING)] = None
    frequency_penalty: Annotated[float | None, _option("In [-2, 2].", SAMPLING)] = None
    seed: Annotated[int | None, _option("Same seed, same text.", SAMPLING)] = None
    stop: Annotated[list[str] | None, _option("End before this text; may be repeated.", SAMPLING)] = None

    def given(self) -> dict[str, Any]:
        """The options that the user gave."""
        return given(**{**dataclasses.asdict(self), "stop": self.stop or None})


def given(**values: Any) -> dict[str, Any]:
    """The options that the user gave."""
    return {name: value for name, value in values.items() if value is not None}


def with_groups(function: Callable[..., None]) -> Callable[..., None]:
    """Makes a command of `function`, whose parameters of a dataclass type become that class's fields as options."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}

    def command(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
        function(**values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            parameters += inspect.signature(groups[name], eval_str=True).parameters.values()
        else:
            parameters.append(parameter.replace(annotation=hints[name]))
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    command.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command
