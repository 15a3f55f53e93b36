"""A GGUF model in several files, NAME-00001-of-00003.gguf and so on, as llama.cpp's gguf-split writes it.

The first file holds the metadata and maybe tensors, the others tensors and little else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skywork_rt.checkpoints.gguf.file import GgufFile, GgufTensor
from skywork_rt.errors import CheckpointError

__all__ = ["GgufModel", "gguf_in_directory"]

_NUMBERED = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_LARGEST_COUNT = 1 << 12


class GgufModel:
    """One file, or all files of a split model, whichever of them `path` is. Raises CheckpointError."""

    def __init__(self, path: Path) -> None:
        opened = GgufFile(path)
        self.paths: Sequence[Path] = [path]
        self.metadata: Mapping[str, Any] = opened.metadata
        self.tensors: Mapping[str, GgufTensor] = opened.tensors
        self.name = path.name
        count = opened.metadata.get("split.count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _LARGEST_COUNT:
            raise CheckpointError(f"{path.name} has split.count {str(count)[:40]}; expected a number of files")
        if count > 1:
            self._open_all(opened, count)

    def _open_all(self, opened: GgufFile, count: int) -> None:
        self.paths = _siblings(opened.path, count)
        files = [opened if path == opened.path else GgufFile(path) for path in self.paths]
        tensors: dict[str, GgufTensor] = {}
        for number, file in enumerate(files):
            self._check_number(file, number, count)
            for name, tensor in file.tensors.items():
                if name in tensors:
                    where = f"{tensors[name].file.name} and {tensor.file.name}"
                    raise CheckpointError(f"tensor {name[:80]} is in both {where}")
                tensors[name] = tensor
        self.metadata, self.tensors, self.name = files[0].metadata, tensors, self.paths[0].name
        stated = self.metadata.get("split.tensors.count")
        if isinstance(stated, int) and stated != len(tensors):
            raise CheckpointError(f"{self.name} states {stated} tensors in all its files, which hold {len(tensors)}")

    @staticmethod
    def _check_number(file: GgufFile, number: int, count: int) -> None:
        stated = (file.metadata.get("split.no"), file.metadata.get("split.count"))
        if stated != (number, count):
            raise CheckpointError(
                f"{file.path.name} says that it is file {stated[0]} of {stated[1]}, counted from 0, but its name says "
                f"{number} of {count}: files of different models are mixed, or one was renamed"
            )


def _siblings(path: Path, count: int) -> list[Path]:
    match = _NUMBERED.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise CheckpointError(
            f"{path.name} is one of {count} files of a split model, but not named so; give all their names back, "
            f"such as model-00001-of-{count:05}.gguf"
        )
    files = [path.with_name(f"{match['name']}-{number:05}-of-{match['count']}.gguf") for number in range(1, count + 1)]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(f"{path.name} is one of {count} files; missing beside it: {', '.join(missing[:3])}{more}")
    return files


def gguf_in_directory(directory: Path) -> Path | None:
    """The one GGUF model in a directory, a split one by its first file; None when there is none.

    Raises CheckpointError when there are several to choose from.
    """
    models: dict[str, Path] = {}
    for file in sorted(directory.glob("*.gguf")):
        match = _NUMBERED.fullmatch(file.name)
        models.setdefault(match["name"] if match else file.name, file)
    if len(models) > 1:
        names = ", ".join(file.name for file in list(models.values())[:5])
        raise CheckpointError(f"{directory.name} holds {len(models)} GGUF models: {names}; give the path of one")
    return next(iter(models.values()), None)
