"""skywork-rt serve"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skywork_rt.cli import options as opt
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.field_table import Field

__all__ = ["ServeGroup", "serve"]


class ServeGroup(opt.Group):
    """To whom the server listens, and what they may take."""

    module = "server/settings.py"
    class_name = "ServeOptions"
    panel = "Server"

    @classmethod
    def default(cls, field: Field) -> str | None:
        if field.default is None:
            return None
        return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


@opt.with_groups
def serve(
    server: ServeGroup,
    model: opt.ModelOptions,
    bundles: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]BUNDLE...",
            help="Bundles, each by the name that requests call it; without one, the folder's own.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with `models` (names and bundles) and any of these options by their names."),
    ] = None,
) -> None:
    """Serve models over HTTP with OpenAI's routes, until SIGTERM or Ctrl-C.

    docs/server.md has the routes, and what requests may hold. Options of the command line count before those of the
    config file.
    """
    from skywork_rt.support.extras import needs_extra

    with needs_extra("serve"):
        from skywork_rt.server.config import read_config
        from skywork_rt.server.process import serve as run
        from skywork_rt.server.settings import ServerSettings

    found = read_config(config) if config is not None else {}
    models = named_bundles(bundles or []) or dict(found.pop("models", {}))
    found.pop("models", None)
    values, generator = _split(found)
    values.update(server.given())
    generator.update(model.given())
    run(ServerSettings(**values, models=models, generator=generator))


def named_bundles(arguments: list[str]) -> dict[str, str]:
    """Bundles by name. Raises InvalidArgumentError for one name given twice."""
    models: dict[str, str] = {}
    for argument in arguments:
        name, separator, path = argument.partition("=")
        if not separator:
            name, path = Path(argument).absolute().name, argument
        if not name or not path:
            raise InvalidArgumentError(f"{argument!r} is no NAME=BUNDLE")
        if name in models:
            raise InvalidArgumentError(f"there are two bundles of the name {name}; give NAME=BUNDLE for each")
        models[name] = path
    return models


def _split(found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the server, and those of models."""
    of_models = {field.name for field in opt.ModelOptions.fields()}
    generator = {name: value for name, value in found.items() if name in of_models}
    return {name: value for name, value in found.items() if name not in of_models}, generator
