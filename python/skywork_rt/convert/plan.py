"""What is to be written: files, their tensors, and where each tensor comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from skywork_rt.checkpoints.tensors.file_layout import FileLayout, TensorSpec

__all__ = ["Plan", "PlannedFile", "PlannedTensor", "Unit"]

Unit = tuple[int, int]
"""A tensor of a plan: the number of its file, and its number in that file."""

_VERSION = 2


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor and the function that reads or computes it, in the storage of `spec.dtype`."""

    spec: TensorSpec
    load: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class PlannedFile:
    """A file of the output. `path` is relative to it; `crc` appends the checksum of mindspore's crc_check."""

    path: str
    layout: FileLayout
    tensors: Sequence[PlannedTensor]
    crc: bool = False


@dataclass(frozen=True)
class Plan:
    """All files of an output. `inputs` are the files that it is made from, `options` what else decides its bytes."""

    files: Sequence[PlannedFile]
    inputs: Sequence[Path]
    options: Mapping[str, Any]

    def units(self) -> list[Unit]:
        """All tensors, in the order of the files."""
        return [(number, index) for number, file in enumerate(self.files) for index in range(len(file.tensors))]

    def size(self, unit: Unit) -> int:
        """Bytes of a tensor's part of its file."""
        start, stop = self.files[unit[0]].layout.spans[unit[1]]
        return stop - start

    def total(self) -> int:
        """Bytes of all tensors' parts."""
        return sum(map(self.size, self.units()))

    def fingerprint(self) -> str:
        """A digest that changes when an input or anything that decides the output's bytes does."""
        inputs = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self.inputs]
        files = [
            (file.path, file.crc, type(file.layout).__name__, file.layout.spans, [vars(t.spec) for t in file.tensors])
            for file in self.files
        ]
        text = json.dumps([_VERSION, inputs, files, dict(self.options)], default=str)
        return hashlib.sha256(text.encode()).hexdigest()
