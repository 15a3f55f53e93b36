"""skywork-rt serve"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywork_rt.cli import options as opt
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.field_table import Field

if TYPE_CHECKING:
    from skywork_rt.server.settings import ServerSettings

__all__ = ["RayGroup", "ServeGroup", "serve"]


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


class RayGroup(opt.Group):
    """How many replicas there are with --ray, and how requests come to them."""

    module = "server/ray/options.py"
    class_name = "RayOptions"
    panel = "With --ray"

    @classmethod
    def default(cls, field: Field) -> str | None:
        return None if field.default is None else str(field.default)


@opt.with_groups
def serve(
    server: ServeGroup,
    model: opt.ModelOptions,
    on_ray: RayGroup,
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
    ray: Annotated[
        bool,
        typer.Option("--ray", help="Serve on Ray: the cluster of RAY_ADDRESS, or else one on this machine."),
    ] = False,
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
    of_ray = {field.name: values.pop(field.name) for field in RayGroup.fields() if field.name in values}
    of_ray.update(on_ray.given())
    if of_ray and not ray:
        raise InvalidArgumentError(f"{', '.join(sorted(of_ray))}: these options need --ray")
    settings = ServerSettings(**values, models=models, generator=generator)
    if ray:
        _run_on_ray(settings, of_ray)
    else:
        run(settings)


def _run_on_ray(settings: ServerSettings, given: dict[str, Any]) -> None:
    from skywork_rt.server.ray.options import RayOptions
    from skywork_rt.support.extras import needs_extra

    options = RayOptions(**given)
    with needs_extra("ray"):
        from skywork_rt.server.ray.launch import serve as run
    run(settings, options)


def named_bundles(arguments: list[str]) -> dict[str, str]:
    """Bundles by name. Raises InvalidArgumentError for one name given twice."""
    models: dict[str, str] = {}
    for argument in arguments:
        name, separator, path = argument.partition("=")
        if not separator or Path(argument).is_dir():  # a folder may be called lr=0.1
            name, path = _folder_name(Path(argument)), argument
        if not name or not path:
            raise InvalidArgumentError(f"{argument!r} is no NAME=BUNDLE")
        if name in models:
            raise InvalidArgumentError(f"there are two bundles of the name {name}; give NAME=BUNDLE for each")
        models[name] = path
    return models


def _folder_name(path: Path) -> str:
    """A link is called by its own name; `..` and the like by the folder that they are."""
    return path.name if path.name not in ("", "..") else path.resolve().name


def _split(found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the server, and those of models."""
    of_models = {field.name for field in opt.ModelOptions.fields()}
    generator = {name: value for name, value in found.items() if name in of_models}
    return {name: value for name, value in found.items() if name not in of_models}, generator
