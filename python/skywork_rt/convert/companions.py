"""The small files beside the weights: configuration and tokenizer."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skywork_rt.checkpoints.huggingface.json_file import read_json_object
from skywork_rt.errors import CheckpointError

__all__ = ["Companions"]

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


class Companions:
    """What goes beside the weights, collected from the source.

    `config` is the configuration in the keys of config.json, `config_directory` where the source's config.json is
    (None when it came from a YAML), `tokenizer` a file, a directory or None.
    """

    def __init__(self, config: Mapping[str, Any], config_directory: Path | None, tokenizer: Path | None) -> None:
        self._config = dict(config)
        self._directory = config_directory
        self._tokenizer = tokenizer

    def write_all(self, directory: Path, dtype: str | None) -> None:
        """Into a new directory of Hugging Face's layout; `dtype` is that of all weights."""
        self._write_json(directory / _CONFIG, self._with_dtype(dtype))
        self._write_json(directory / _GENERATION, self._generation() or self._made_generation())
        for name, source in self._copies().items():
            _copy(source, directory / name)

    def write_missing(self, directory: Path, dtype: str | None) -> list[str]:
        """Beside a checkpoint of MindSpore: what is not there yet. Returns the names."""
        written = []
        if not (directory / _CONFIG).exists():
            self._write_json(directory / _CONFIG, self._with_dtype(dtype))
            written.append(_CONFIG)
        generation = self._generation()
        if generation is not None and not (directory / _GENERATION).exists():
            self._write_json(directory / _GENERATION, generation)
            written.append(_GENERATION)
        copies = self._copies()
        if not any((directory / name).exists() for name in copies):  # a part of another tokenizer would be wrong
            for name, source in copies.items():
                _copy(source, directory / name)
                written.append(name)
        return written

    def _with_dtype(self, dtype: str | None) -> dict[str, Any]:
        if dtype is None:
            return self._config
        key = "dtype" if "dtype" in self._config else "torch_dtype"
        return {**self._config, key: dtype}

    def _generation(self) -> dict[str, Any] | None:
        path = self._directory / _GENERATION if self._directory else None
        return read_json_object(path) if path is not None and path.exists() else None

    def _made_generation(self) -> dict[str, Any]:
        ids = ("bos_token_id", "eos_token_id", "pad_token_id")
        return {name: self._config[name] for name in ids if self._config.get(name) is not None}

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
        named = self._config.get("auto_map")
        if self._directory is None or not isinstance(named, dict):
            return {}
        files = {f"{str(value).partition('.')[0]}.py" for value in named.values() if isinstance(value, str)}
        return {name: self._directory / name for name in sorted(files) if (self._directory / name).is_file()}

    @staticmethod
    def _write_json(path: Path, body: Mapping[str, Any]) -> None:
        text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)


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
