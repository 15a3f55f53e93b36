"""Options that several commands share: made of the tables of the classes that they fill, so that none is missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeAlias, get_type_hints

import typer

from skywork_rt.cli.text import biases, core_list, ids
from skywork_rt.support.field_table import Field, field_table

if TYPE_CHECKING:
    from skywork_rt.api.generator import Generator

__all__ = ["BundlePath", "Group", "ModelOptions", "SamplingOptions", "with_groups"]

BundlePath: TypeAlias = Annotated[Path, typer.Argument(help="Bundle directory, as 'skywork-rt export' writes it.")]


@dataclass(frozen=True)
class _Kind:
    """How fields of one type are given on a command line."""

    annotation: Any
    parse: Callable[[str, Any], Any] = lambda _name, value: value
    note: str = ""


def _several(parse: Callable[[str, str], Any]) -> Callable[[str, Any], Any]:
    return lambda name, values: [parse(name, value) for value in values]


_KINDS: dict[str, _Kind] = {
    "int": _Kind(int | None),
    "float": _Kind(float | None),
    "bool": _Kind(bool | None),
    "str": _Kind(str | None),
    "Sequence[int]": _Kind(str | None, ids, "Such as 2,13."),
    "str | Sequence[str]": _Kind(list[str] | None, note="May be repeated."),
    "Sequence[Sequence[int]]": _Kind(list[str] | None, _several(ids), "Such as 5,6; may be repeated."),
    "Mapping[int, float]": _Kind(list[str] | None, biases, "Such as 42=-1.5 or 7=-inf; may be repeated."),
}
"""By the type of the field, an optional one's without None."""

_PARTICULAR = {"affinity": _Kind(str | None, core_list, "Such as 0,2-5."), "backend": _Kind(str | None)}
_SHORT = {"n": "-n"}


class Group:
    """Options of a command that belong together, and what the user gave of them."""

    module: ClassVar[str]
    class_name: ClassVar[str]
    panel: ClassVar[str]

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name: value for name, value in values.items() if value not in (None, [])}

    @classmethod
    def fields(cls) -> tuple[Field, ...]:
        """The table."""
        return field_table(cls.module, cls.class_name)

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """One optional parameter a field; None means that it was not given."""
        return [cls._parameter(field) for field in cls.fields()]

    @classmethod
    def taken_from(cls, values: dict[str, Any]) -> Self:
        """Takes the group's own out of all values of a command."""
        return cls({field.name: values.pop(field.name) for field in cls.fields()})

    def given(self) -> dict[str, Any]:
        """What was given, as the API wants it. Raises InvalidArgumentError for texts that are no such values."""
        kinds = {field.name: _kind(field) for field in self.fields()}
        return {name: kinds[name].parse(name, value) for name, value in self._values.items()}

    @classmethod
    def default(cls, field: Field) -> str | None:
        """What the help shows as the default of a field."""
        del field
        return None

    @classmethod
    def _parameter(cls, field: Field) -> inspect.Parameter:
        kind = _kind(field)
        flag = "--" + field.name.replace("_", "-")
        declared = [_SHORT[field.name], flag] if field.name in _SHORT else [flag]
        if kind.annotation == bool | None:
            declared = [f"{flag}/--no-{flag[2:]}"]
        default = cls.default(field)
        said = (field.text, kind.note, f"Default: {default}." if default not in (None, "") else "")
        option = typer.Option(
            *declared, help=" ".join(filter(None, said)), rich_help_panel=cls.panel, show_default=False
        )
        return inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind.annotation, option],
        )


def _kind(field: Field) -> _Kind:
    return _PARTICULAR.get(field.name) or _KINDS[field.annotation.removesuffix(" | None")]


class SamplingOptions(Group):
    """How tokens are chosen; what is not given is the model's own default."""

    module = "api/params.py"
    class_name = "SamplingParams"
    panel = "Sampling"


class ModelOptions(Group):
    """How a bundle is opened."""

    module = "api/options.py"
    class_name = "GeneratorOptions"
    panel = "Model"

    def with_value(self, name: str, value: Any) -> ModelOptions:
        """With one that another option of the command stands for. Raises InvalidArgumentError when both were given."""
        from skywork_rt.errors import InvalidArgumentError

        if self._values.get(name, value) != value:
            raise InvalidArgumentError(
                f"--{name.replace('_', '-')} is given twice, as {self._values[name]} and {value}"
            )
        return ModelOptions({**self._values, name: value})

    def open(self, bundle: Path) -> Generator:
        """Opens a bundle, showing on a terminal that it takes a while."""
        from rich.console import Console

        from skywork_rt.api.generator import Generator

        console = Console(stderr=True)
        if not console.is_terminal:
            return Generator(bundle, **self.given())
        with console.status("Loading the model"):
            return Generator(bundle, **self.given())

    @classmethod
    def default(cls, field: Field) -> str | None:
        """The core's own, where the core loads; 0 and empty lists stand for None, which the text explains."""
        value = _core_defaults().get(field.name)
        if value in (None, 0, []) and not isinstance(value, bool):
            return None
        return str(value).lower() if isinstance(value, bool) else str(value)


def _core_defaults() -> dict[str, Any]:
    try:
        from skywork_rt import _core
    except ImportError:  # the help is there all the same, and 'skywork-rt doctor' tells why
        return {}
    return {row["name"]: row["default"] for row in _core.generator_fields()}


def with_groups(function: Callable[..., None]) -> Callable[..., None]:
    """Makes a command of `function`, whose parameters of a Group type become that group's options."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, type[Group]] = {
        name: kind for name, kind in hints.items() if isinstance(kind, type) and issubclass(kind, Group)
    }

    def command(**values: Any) -> None:
        taken = {name: kind.taken_from(values) for name, kind in groups.items()}
        function(**values, **taken)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            parameters += groups[name].parameters()
        else:
            parameters.append(parameter.replace(annotation=hints[name]))
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    command.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command
