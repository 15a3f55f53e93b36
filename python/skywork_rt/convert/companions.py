"""The small files beside the weights: configuration and tokenizer."""

from __future__ import annotations

import dataclasses
import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from skywork_rt.checkpoints.huggingface.config import read_config
from skywork_rt.checkpoints.huggingface.json_file import read_json_object
from skywork_rt.checkpoints.mindspore.config import configuration_beside
from skywork_rt.errors import CheckpointError, InvalidArgumentError, UnsupportedError

__all__ = ["COMPANIONS", "Companions", "check_configuration", "code_files"]

_TOKENIZER = (
    "tokenizer.json",  # as `read_tokenizer` prefers it
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
_TEMPLATES = "additional_chat_templates"
_CONFIG, _GENERATION = "config.json", "generation_config.json"
COMPANIONS = frozenset((*_TOKENIZER, _TEMPLATES, _CONFIG, _GENERATION))
"""Names of what is written beside weights, the code that a configuration names aside."""

_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_ELSEWHERE = "write to a folder of its own, or move that file away"
# What differs between two descriptions of one model: who wrote them, and in which type the weights were.
_INCIDENTAL = {"_name_or_path", "_from_model_config", "architectures", "dtype", "torch_dtype", "transformers_version"}


class Companions:
    """What goes beside the weights, collected from the source.

    `config` is the configuration in the keys of config.json, `config_directory` where the source's config.json is
    (None when it came from a YAML), `tokenizer` a file, a directory or None. `yaml`: a MindFormers YAML that says the
    same, and is to lie beside a checkpoint of MindSpore in the place of config.json (it says more, as lora_alpha).
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        config_directory: Path | None,
        tokenizer: Path | None,
        *,
        yaml: Path | None = None,
    ) -> None:
        self._config = dict(config)
        self._directory = config_directory
        self._tokenizer = tokenizer
        self._yaml = yaml

    def write_all(self, directory: Path, dtype: str | None) -> None:
        """Into a new directory of Hugging Face's layout; `dtype` is that of all weights."""
        self._write_json(directory / _CONFIG, self._with_dtype(dtype))
        self._write_json(directory / _GENERATION, self._generation() or self._made_generation())
        for name, source in self._copies().items():
            _copy(source, directory / name)

    def check(self, directory: Path) -> None:
        """Raises InvalidArgumentError when a file in `directory` describes another model or another tokenizer.

        `write_missing` would leave it there, and the new checkpoint would be read with it.
        """
        if self._directory is None or not _same(self._directory, directory):
            check_configuration(directory, self._config, self._generation())
        copies = self._copies()
        foreign = [name for name in _TOKENIZER if copies and name not in copies and (directory / name).exists()]
        foreign += [name for name, source in copies.items() if not _equal(source, directory / name)]
        if foreign:
            raise InvalidArgumentError(
                f"{foreign[0]} in {directory} is there already and is not the one that belongs to this checkpoint, "
                f"which would be read with it; {_ELSEWHERE}"
            )

    def write_missing(self, directory: Path, dtype: str | None) -> list[str]:
        """Beside a checkpoint of MindSpore: what is not there yet. Returns the names. Raises as `check` does."""
        self.check(directory)
        written = self._write_configuration(directory, dtype)
        generation = self._generation()
        if generation is not None and not (directory / _GENERATION).exists():
            self._write_json(directory / _GENERATION, generation)
            written.append(_GENERATION)
        for name, source in self._copies().items():
            if not (directory / name).exists():
                _copy(source, directory / name)
                written.append(name)
        return written

    def _write_configuration(self, directory: Path, dtype: str | None) -> list[str]:
        if self._yaml is not None:
            target = directory / self._yaml.name
            if target.exists() or configuration_beside(directory) is not None:
                return []
            _copy(self._yaml, target)
            return [target.name]
        if (directory / _CONFIG).exists():
            return []
        self._write_json(directory / _CONFIG, self._with_dtype(dtype))
        return [_CONFIG]

    def _with_dtype(self, dtype: str | None) -> dict[str, Any]:
        if dtype is None:
            return self._config
        key = "dtype" if "dtype" in self._config else "torch_dtype"
        return {**self._config, key: dtype}

    def _generation(self) -> dict[str, Any] | None:
        path = self._directory / _GENERATION if self._directory else None
        return read_json_object(path) if path is not None and path.exists() else None

    def _made_generation(self) -> dict[str, Any]:
        return _only(self._config, _IDS)

    def _copies(self) -> dict[str, Path]:
        """Name to the file that is copied: the tokenizer's, and code that the configuration names (it is not run)."""
        if self._tokenizer is None:
            return {}
        directory = self._tokenizer if self._tokenizer.is_dir() else self._tokenizer.parent
        found = {name: directory / name for name in _TOKENIZER if (directory / name).is_file()}
        if (directory / _TEMPLATES).is_dir():
            found[_TEMPLATES] = directory / _TEMPLATES
        if self._tokenizer.is_file() and self._tokenizer.name != next(iter(found), None):
            # Not what its directory is read by: it goes alone, as `open_tokenizer_files` reads it.
            standard = "tokenizer.json" if self._tokenizer.suffix == ".json" else "tokenizer.model"
            found = {standard: self._tokenizer}
        return found | self._code()

    def _code(self) -> dict[str, Path]:
        directory = self._directory
        if directory is None:
            return {}
        return {name: directory / name for name in sorted(code_files(self._config)) if (directory / name).is_file()}

    @staticmethod
    def _write_json(path: Path, body: Mapping[str, Any]) -> None:
        text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)


def code_files(config: Mapping[str, Any]) -> set[str]:
    """Names of the Python files that auto_map of a config.json names."""
    named = config.get("auto_map")
    values = named.values() if isinstance(named, dict) else ()
    return {f"{value.partition('.')[0]}.py" for value in values if isinstance(value, str)}


def check_configuration(directory: Path, config: Mapping[str, Any], generation: Mapping[str, Any] | None) -> None:
    """Raises InvalidArgumentError, naming the keys, when what lies in `directory` describes another model.

    `config` and `generation` are what would be written there; both are compared by what the runtime takes from them.
    """
    found = configuration_beside(directory)
    if found is not None and not _same_model(found.values, config):
        _refuse(found.path, _differing(found.values, config))
    path = directory / _GENERATION
    if path.exists():
        settings = read_json_object(path)
        expected = (
            dict(generation) if generation is not None else {**settings, **_only(config, settings.keys() & set(_IDS))}
        )
        keys = _differing(settings, expected)
        if keys:
            _refuse(path, keys)
    elif found is not None and generation is not None:  # the checkpoint that is there would be read with it
        ids = _only(generation, _IDS)
        keys = _differing(_only(found.values, ids), ids)
        if keys:
            _refuse(found.path, keys)


def _refuse(path: Path, keys: Sequence[str]) -> NoReturn:
    shown = ", ".join(keys[:6]) + (", …" if len(keys) > 6 else "")
    raise InvalidArgumentError(
        f"{path} is there already and describes another model (it differs in {shown}), with which this checkpoint "
        f"would be read; {_ELSEWHERE}"
    )


def _same_model(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if not _differing(one, other):
        return True
    try:
        first, second = read_config(one, "model"), read_config(other, "model")
        if None in (first.pad_id, second.pad_id):
            first, second = (dataclasses.replace(model, pad_id=None) for model in (first, second))
        return first == second
    except (CheckpointError, UnsupportedError):
        return False


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Keys with another value; a key that is absent is as one that is null.

    A pad that one of both does not name is no difference: MindFormers' YAML has one always, config.json often none.
    """
    keys = [key for key in sorted({*one, *other} - _INCIDENTAL) if one.get(key) != other.get(key)]
    return [key for key in keys if key != "pad_token_id" or None not in (one.get(key), other.get(key))]


def _only(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: values[key] for key in keys if values.get(key) is not None}


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _equal(source: Path, target: Path) -> bool:
    """Whether `target`, where it is there, has the content of `source`: two files, or two directories of files."""
    if not target.exists():
        return True
    if source.is_dir() and target.is_dir():
        return all(_equal(file, target / file.name) for file in source.iterdir())
    return source.is_file() and target.is_file() and filecmp.cmp(source, target, shallow=False)


def _copy(source: Path, target: Path) -> None:
    try:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
            return
        aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(source, aside)
        aside.replace(target)
    except OSError as error:
        raise CheckpointError(f"{source.name} cannot be copied: {error.strerror}") from error
