"""The config file of `skywork-rt serve`: its options by their names, in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from skywork_rt.api.options import GeneratorOptions
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.server.ray.options import RayOptions
from skywork_rt.server.settings import ServeOptions
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["read_config"]


def read_config(path: Path) -> dict[str, Any]:
    """The options of a file, by name; `models` is a map of names to bundles. Paths are relative to the file's folder.

    Dashes in names count as underscores. Raises InvalidArgumentError for a file that cannot be read, and names that
    are no options.
    """
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidArgumentError(f"the config file {path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InvalidArgumentError(f"the config file {path} holds no options; write lines such as port: 8000")
    options = {name.replace("-", "_"): value for name, value in found.items()}
    if len(options) != len(found):
        twice = next(name for name in options if name in found and name.replace("_", "-") in found and "_" in name)
        raise InvalidArgumentError(f"the config file {path} has {twice} twice, with dashes and with underscores")
    known = [*ServeOptions.__dataclass_fields__, *RayOptions.__dataclass_fields__]
    known += [*GeneratorOptions.__annotations__, "models"]
    refuse_unknown(f"the config file {path}", options, known)
    if "models" in options:
        options["models"] = _models(path, options["models"])
    if isinstance(options.get("api_key_file"), str):
        options["api_key_file"] = _beside(path, options["api_key_file"])
    return options


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """As the library's own, which takes the last of two values of one name without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(f"{twice} is there twice", node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


def _beside(config: Path, name: str) -> str:
    """A path of the file: relative to its folder, ~ is the home of who runs the server."""
    return str(config.parent / Path(name).expanduser())


def _models(path: Path, found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(v, str) and isinstance(k, str) for k, v in found.items()):
        raise InvalidArgumentError(f"the config file {path}: models must be names and bundles, such as small: ./bundle")
    return {name: _beside(path, bundle) for name, bundle in found.items()}
