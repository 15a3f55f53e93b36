"""Configurations whose keys are attributes too, as in MindFormers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from skywork_rt.errors import InvalidArgumentError, UnsupportedError

__all__ = ["DictConfig", "MindFormerConfig"]

_LARGEST_YAML = 1 << 20
_DEEPEST = 8


class DictConfig(dict[str, Any]):
    """A dict whose keys are attributes. An attribute that is not there is None, as in MindFormers; dicts in it become
    of this class too."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        for name, value in values.items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, _wrapped(value))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself asks for, as copy and pickle do
            raise AttributeError(name)
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        self.pop(name, None)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = type(self).__new__(type(self))
        dict.update(made, {name: copy.deepcopy(value, memo) for name, value in self.items()})
        return made

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts."""
        return {name: _plain(value) for name, value in self.items()}


class MindFormerConfig(DictConfig):
    """Reads YAML files in MindFormers' keys, the later ones over the earlier ones, and keywords over all.

    `base_config` in a file names one or more files, beside it, that it changes. Raises InvalidArgumentError for a file
    that is not there or no YAML. Nothing in a file can run code.
    """

    def __init__(self, *sources: Any, **values: Any) -> None:
        super().__init__()
        for source in sources:
            _merge(self, source if isinstance(source, Mapping) else _read(Path(source), _DEEPEST))
        _merge(self, values)

    def merge_from_dict(self, options: Mapping[str, Any]) -> None:
        """Changes values; keys may be paths such as "model.model_config.use_past"."""
        for path, value in options.items():
            place: dict[str, Any] = self
            *parts, last = path.split(".")
            for part in parts:
                if not isinstance(place.get(part), dict):
                    place[part] = DictConfig()
                place = place[part]
            place[last] = value


def _wrapped(value: Any) -> Any:
    if isinstance(value, dict) and not isinstance(value, DictConfig):
        return DictConfig(**{str(name): inner for name, inner in value.items()})
    return [_wrapped(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, DictConfig):
        return value.to_dict()
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _merge(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def _read(path: Path, deepest: int) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise UnsupportedError(
            f"{path.name} is read with PyYAML, which is not installed; run: pip install 'skywork-rt[compat]'"
        ) from error
    if not path.is_file():
        raise InvalidArgumentError(f"MindFormerConfig: {path} does not exist; give the path of a YAML file")
    if path.stat().st_size > _LARGEST_YAML:
        raise InvalidArgumentError(
            f"MindFormerConfig: {path} has {path.stat().st_size} bytes; a configuration is smaller"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidArgumentError(
            f"MindFormerConfig: {path} is not YAML: {' '.join(str(error).split())[:200]}"
        ) from error
    if not isinstance(values, dict):
        raise InvalidArgumentError(f"MindFormerConfig: {path} holds no keys and values")
    return _over_bases(path, values, deepest)


def _over_bases(path: Path, values: dict[str, Any], deepest: int) -> dict[str, Any]:
    bases = values.pop("base_config", None)
    if bases is None:
        return values
    if deepest == 0:
        raise InvalidArgumentError(f"MindFormerConfig: base_config of {path} leads on without an end")
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        _merge(merged, _read(path.parent / str(base), deepest - 1))
    _merge(merged, values)
    return merged
