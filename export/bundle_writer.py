"""Writes a bundle as docs/bundle-format.md describes it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from skywork_rt.checkpoints.hashing import hash_files
from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.checkpoints.tokenizers.section import tokenizer_section
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.tokenizers.vocabulary import encode_vocabulary
from skywork_rt.errors import InternalError, InvalidArgumentError
from skywork_rt.export.graph.graph_file import GraphFile
from skywork_rt.support.atomic_directory import AtomicDirectory
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["BundleWriter", "Role", "check_output"]

Role = Literal["graph", "graph_data", "ge_config", "weights", "vocabulary", "tokenizer", "generation_config"]

_FORMAT = "skywork_rt.bundle"
_FIRST_VERSION, _SECOND_VERSION, _THIRD_VERSION = 1, 2, 3
_MOST_PARTS = 3
_MODEL_FILE = "model.json"


def check_output(out: Path, overwrite: bool) -> None:
    """Refuses a place that is taken, before any work is done. Raises InvalidArgumentError.

    With `overwrite` only a bundle or an empty directory is replaced: a wrong path never costs other files.
    """
    if out.name in ("", ".", ".."):
        raise InvalidArgumentError(f"the output {str(out)!r} has no name of its own")
    if not out.exists() and not out.is_symlink():
        return
    if not overwrite:
        raise InvalidArgumentError(f"{out} exists; give another name, or overwrite=True (--overwrite) to replace it")
    if out.is_symlink() or not out.is_dir():
        raise InvalidArgumentError(f"{out} is no directory; it is not replaced")
    if any(out.iterdir()) and not _is_bundle(out):
        raise InvalidArgumentError(f"{out} is not empty and no bundle; it is not replaced")


def _is_bundle(directory: Path) -> bool:
    try:
        body = json.loads((directory / _MODEL_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(body, dict) and body.get("format") == _FORMAT


class BundleWriter:
    """Collects the files of a bundle in an `AtomicDirectory` and finishes it with model.json.

    Files are added under plain names, or with at most two folders before them; each is hashed once, when `finish` is
    called.
    """

    def __init__(self, directory: AtomicDirectory, config: ModelConfig, source: Mapping[str, Any]) -> None:
        self._directory = directory
        self._config = config
        self._source = dict(source)
        self._roles: dict[str, Role] = {}
        self._graphs: list[GraphFile] = []
        self._weights: dict[str, str] = {}
        self._tokenizer: dict[str, Any] | None = None

    @property
    def path(self) -> Path:
        """Where the files are written."""
        return self._directory.path

    def add_bytes(self, name: str, role: Role, content: bytes) -> None:
        """Writes a small file."""
        (self.path / name).write_bytes(content)
        self._add(name, role)

    def add_graph(self, graph: GraphFile) -> None:
        """Takes in a graph that is already in `path`, and the file of its weights where there is one."""
        self._add(graph.file, "graph")
        if graph.weights is not None and graph.weights not in self._roles:
            self._add(graph.weights, "graph")
        self._graphs.append(graph)

    def add_graph_data(self, name: str) -> None:
        """Takes in a file of weights that is already in `path` where its graph looks for it."""
        self._add(name, "graph_data")

    def add_ge_config(self, name: str) -> None:
        """Takes in a context.cfg that is already in `path`."""
        self._add(name, "ge_config")

    def add_weights(self, weights: str, name: str) -> None:
        """Takes in a weights file that is already in `path` under the name of its kind ("int8")."""
        self._add(name, "weights")
        self._weights[weights] = name

    def add_tokenizer(self, tokenizer: TokenizerFiles, unusable: Mapping[str, str] | None = None) -> None:
        """Writes the tokenizer and vocab.bin. `unusable`: chat templates that are left out, and why."""
        self.add_bytes(tokenizer.file, "tokenizer", tokenizer.content)
        self.add_bytes("vocab.bin", "vocabulary", encode_vocabulary(tokenizer, self._config.vocab_size))
        self._tokenizer = tokenizer_section(tokenizer, unusable or {})

    def finish(self, progress: Progress = no_progress) -> None:
        """Hashes every file, writes model.json and publishes the directory."""
        files = self._hashed(progress)
        body = {
            "format": _FORMAT,
            "version": _format_version(self._config, self._graphs),
            "producer": f"skywork_rt {_version()}",
            "model": self._config.to_json(),
            "files": files,
            "graphs": [
                {key: value for key, value in dataclasses.asdict(graph).items() if value is not None}
                for graph in self._graphs
            ],
            "weights": self._weights,
            "source": self._source,
        }
        if self._tokenizer is not None:
            body["tokenizer"] = self._tokenizer
        text = json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False)
        (self.path / _MODEL_FILE).write_text(text + "\n", encoding="utf-8")
        self._refuse_strays([*files, _MODEL_FILE])
        self._directory.publish()

    def _add(self, name: str, role: Role) -> None:
        if not _is_inside(name) or name == _MODEL_FILE or name in self._roles:
            raise InternalError(f"{name!r} is no name for a new file of a bundle")
        if not (self.path / name).is_file():
            raise InternalError(f"the export step for {role} said that it wrote {name}, but it did not")
        self._roles[name] = role

    def _hashed(self, progress: Progress) -> dict[str, dict[str, Any]]:
        status = {name: (self.path / name).stat() for name in self._roles}
        distinct = {(found.st_dev, found.st_ino): name for name, found in status.items()}  # graphs link their weights
        digests = hash_files("hash", [self.path / name for name in distinct.values()], progress)
        by_file = dict(zip(distinct, digests, strict=True))
        return {
            name: {
                "role": role,
                "size": status[name].st_size,
                "sha256": by_file[status[name].st_dev, status[name].st_ino],
            }
            for name, role in self._roles.items()
        }

    def _refuse_strays(self, known: Sequence[str]) -> None:
        entries = (entry.relative_to(self.path) for entry in self.path.rglob("*") if not entry.is_dir())
        strays = sorted({entry.as_posix() for entry in entries} - set(known))
        if strays:
            raise InternalError(f"an export step left {', '.join(strays[:5])} in the bundle")


def _is_inside(name: str) -> bool:
    """A plain file name, or up to three with slashes between: MindSpore's graphs name the files of their weights so."""
    parts = name.split("/")
    return len(parts) <= _MOST_PARTS and all(part not in ("", ".", "..") and "\\" not in part for part in parts)


def _format_version(config: ModelConfig, graphs: Sequence[GraphFile]) -> int:
    """The lowest version whose readers can run this: those of version 1 would silently pass over some parts of models,
    and look for a graph's weights under the graph's own name; those of version 2 know no folders in a bundle."""
    parts = config.output_bias or config.mlp_bias or config.qk_norm or bool(config.layers_without_rope)
    elsewhere = any(graph.weights not in (None, Path(graph.file).with_suffix(".msw").name) for graph in graphs)
    if any(graph.form is not None for graph in graphs):
        return _THIRD_VERSION
    beyond_first = parts or elsewhere
    return _SECOND_VERSION if beyond_first else _FIRST_VERSION


def _version() -> str:
    try:
        return importlib.metadata.version("skywork-rt")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
