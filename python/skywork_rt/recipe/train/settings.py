"""Reads the YAML of a training and what the command line changes in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from skywork_rt.errors import InvalidArgumentError

__all__ = ["Settings", "apply_changes", "at", "callbacks_of", "dump_settings", "parse_change", "put", "read_settings"]

Settings = dict[str, Any]
"""The YAML as plain dictionaries, lists, numbers and texts."""

_LARGEST_FILE = 1 << 20


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """A safe loader that refuses a key given twice, and reads 1e-5 as the number that everybody means by it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(getattr(key, "value", key))
            if name in seen and name != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} is there twice", key.start_mark)
            seen.add(name)
        return dict(super().construct_mapping(node, deep=deep))


# YAML 1.1 asks for a dot and a sign in floats and takes 1e-5 for text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def read_settings(path: Path) -> Settings:
    """The file as a dictionary. Raises InvalidArgumentError that names the file, and the line where there is one."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InvalidArgumentError(f"{path} has {path.stat().st_size} bytes; no configuration is that long")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise InvalidArgumentError(f"{path} cannot be read: {error.strerror}") from error
    try:
        settings = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidArgumentError(f"{path} is no valid YAML: {_where(error)}") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise InvalidArgumentError(f"{path} holds a {type(settings).__name__}; a configuration is keys with values")
    checked: Settings = _copied(settings, str(path), 0)
    return checked


def _where(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"{problem}, line {mark.line + 1}" if mark is not None else problem


def _copied(value: Any, path: str, depth: int) -> Any:
    """Without shared parts: an alias of YAML is the same object twice, and changing one place would change both."""
    if depth > 30:
        raise InvalidArgumentError(f"{path} nests deeper than 30 levels, or holds itself")
    if isinstance(value, dict):
        return {key: _copied(item, path, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item, path, depth + 1) for item in value]
    return value


def dump_settings(settings: Settings, path: Path) -> None:
    """Writes what `read_settings` and `mindformers` read back equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = _copied(settings, str(path), 0)
    path.write_text(yaml.safe_dump(plain, allow_unicode=True, sort_keys=False), encoding="utf-8")


def parse_change(text: str) -> tuple[str, Any]:
    """`key.path=value` of --set; the value is read as YAML. Raises InvalidArgumentError for anything else."""
    path, equals, value = text.partition("=")
    path = path.strip().lstrip("-")
    if not equals or not path or not all(part for part in path.split(".")):
        raise InvalidArgumentError(f"--set {text!r} is no KEY=VALUE; write, say, --set runner_config.batch_size=4")
    try:
        return path, yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise InvalidArgumentError(f"--set {text!r}: the value is no valid YAML: {_where(error)}") from error


def apply_changes(settings: Settings, changes: Iterable[tuple[str, Any]]) -> None:
    """Puts every change into its place; places that are not there are made, and checked later as all others."""
    for path, value in changes:
        put(settings, path, value)


def put(settings: Settings, path: str, value: Any) -> None:
    """Sets the value at `a.b.c`, or at `callbacks.0.prefix` in a list."""
    parts = path.split(".")
    place: Any = settings
    for index, part in enumerate(parts[:-1]):
        place = _child(place, part, ".".join(parts[: index + 1]))
    if isinstance(place, list):
        place[_index(place, parts[-1], path)] = value
    else:
        place[parts[-1]] = value


def _child(place: Any, part: str, path: str) -> Any:
    if isinstance(place, list):
        child = place[_index(place, part, path)]
    else:
        if place.get(part) is None:
            place[part] = {}
        child = place[part]
    if not isinstance(child, dict | list):
        raise InvalidArgumentError(f"{path} is {child!r}; it has no keys to set")
    return child


def _index(place: list[Any], part: str, path: str) -> int:
    if not part.isdecimal() or int(part) >= len(place):
        raise InvalidArgumentError(f"{path}: a list of {len(place)} entries has no entry {part!r}")
    return int(part)


def at(settings: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The value at `a.b.c`; `default` where a part of the way is missing or None."""
    place: Any = settings
    for part in path.split("."):
        if not isinstance(place, Mapping) or place.get(part) is None:
            return default
        place = place[part]
    return place


def callbacks_of(settings: Mapping[str, Any], kind: str) -> Iterator[Settings]:
    """The entries of `callbacks` of that type."""
    for entry in settings.get("callbacks") or []:
        if isinstance(entry, dict) and entry.get("type") == kind:
            yield entry
