"""The checkpoints of all ranks of a run, read as one."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.mindspore.names import is_training_state, moment_of
from skywork_rt.checkpoints.mindspore.source import open_weight_file
from skywork_rt.checkpoints.mindspore.strategy import ParameterLayout, Strategy
from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.checkpoints.tensors.weight_file import (
    FLOAT_TYPES,
    STORAGE_TYPES,
    TensorInfo,
    WeightFile,
    to_float32,
)
from skywork_rt.convert.slices import Box, Division
from skywork_rt.errors import CheckpointError

__all__ = ["RankedCheckpoint", "layout_of"]

_log = logging.getLogger("skywork_rt.convert")


def layout_of(layouts: Mapping[str, ParameterLayout], name: str) -> ParameterLayout | None:
    """The layout of a tensor in a stage: its own, or for an optimizer's moment that of its weight."""
    own = layouts.get(name)
    weight = moment_of(name)
    return own if own is not None or weight is None else layouts.get(weight)


@dataclass(frozen=True)
class _Part:
    """Where a rank's part lies in the whole tensor."""

    rank: int
    box: Box


class RankedCheckpoint:
    """rank_0, rank_1, … below a directory as one `WeightFile`: a read gathers the parts that it needs.

    Raises CheckpointError that names the rank when one that is needed is missing, lacks a tensor, or has it in another
    shape or type than the others.
    """

    def __init__(self, directory: Path, strategy: Strategy) -> None:
        self._path, self._strategy = directory, strategy
        self._files = _open_ranks(directory, strategy.ranks)
        self._tensors: dict[str, TensorInfo] = {}
        self._parts: dict[str, list[_Part]] = {}
        for stage, layouts in enumerate(strategy.stages):
            for name in self._names_of(stage):
                self._add(name, stage, layout_of(layouts, name))
        self._check_complete()

    def _names_of(self, stage: int) -> list[str]:
        """Names in the files of a stage, in the order of the first file that has them."""
        first = stage * self._strategy.devices
        files = [self._files[rank] for rank in range(first, first + self._strategy.devices) if rank in self._files]
        return list(dict.fromkeys(name for file in files for name in file.tensors))

    def _add(self, name: str, stage: int, layout: ParameterLayout | None) -> None:
        if name in self._tensors:
            return  # a parameter that several stages share, or a counter that all ranks have
        first = stage * self._strategy.devices
        ranks = [rank for rank in range(first, first + self._strategy.devices) if rank in self._files]
        holders = [rank for rank in ranks if name in self._files[rank].tensors]
        info = self._files[holders[0]].tensors[name]
        if layout is None:
            if not is_training_state(name) and info.shape:
                raise CheckpointError(f"{self._strategy.where} has no layout for {name}, which rank_{holders[0]} has")
            self._tensors[name] = info
            self._parts[name] = [_Part(holders[0], tuple((0, size) for size in info.shape))]
            return
        division = Division(layout, len(info.shape), name, self._strategy.where)
        shape = tuple(size * count for size, count in zip(info.shape, division.counts, strict=True))
        self._tensors[name] = TensorInfo(shape, info.dtype)
        self._parts[name] = self._covering(name, division, shape, first)

    def _covering(self, name: str, division: Division, shape: tuple[int, ...], first: int) -> list[_Part]:
        """One rank for every part; the lowest that is there."""
        missing: dict[Box, int] = {}
        found: dict[Box, int] = {}
        for place in range(self._strategy.devices):
            rank, box = first + place, division.box(shape, place)
            if box in found:
                continue
            if rank in self._files:
                self._check_part(rank, name, box)
                found[box] = rank
            else:
                missing.setdefault(box, rank)
        lost = [rank for box, rank in missing.items() if box not in found]
        if lost:
            raise CheckpointError(
                f"{self._path.name} has no checkpoint of rank_{lost[0]}, which holds a part of {name}"
            )
        return [_Part(rank, box) for box, rank in found.items()]

    def _check_part(self, rank: int, name: str, box: Box) -> None:
        info, wanted = self._files[rank].tensors.get(name), self._tensors[name]
        expected = TensorInfo(tuple(stop - start for start, stop in box), wanted.dtype)
        if info is None:
            raise CheckpointError(f"{self._where(rank)} lacks {name}, which other ranks of its stage have")
        if info != expected:
            raise CheckpointError(
                f"{self._where(rank)}: {name} is {info.dtype}{list(info.shape)}; its layout and the other ranks ask "
                f"for {expected.dtype}{list(expected.shape)}"
            )

    def _where(self, rank: int) -> str:
        return f"rank_{rank}/{self._files[rank].path.name}"

    def _check_complete(self) -> None:
        for layouts in self._strategy.stages:
            for name in layouts:
                if name not in self._tensors and not is_training_state(name):
                    raise CheckpointError(
                        f"{self._path.name}: no rank has {name}, which {self._strategy.where} divides"
                    )

    @property
    def path(self) -> Path:
        return self._path

    @property
    def paths(self) -> list[Path]:
        """The ranks' files."""
        return [self._files[rank].path for rank in sorted(self._files)]

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> Float32Array:
        return to_float32(self.read_array(name, start, stop), FLOAT_TYPES[self._tensors[name].dtype])

    def read_array(self, name: str, start: int | None = None, stop: int | None = None) -> NDArray[Any]:
        info = self._tensors[name]
        if not info.shape:
            return self._files[self._parts[name][0].rank].read_array(name)
        first, last = (0, info.shape[0]) if start is None or stop is None else (start, stop)
        result = np.empty((last - first, *info.shape[1:]), STORAGE_TYPES[info.dtype])
        for part in self._parts[name]:
            (low, high), *columns = part.box
            begin, end = max(first, low), min(last, high)
            if begin < end:
                place = (slice(begin - first, end - first), *(slice(*span) for span in columns))
                result[place] = self._files[part.rank].read_array(name, begin - low, end - low)
        return result


def _open_ranks(directory: Path, ranks: int) -> dict[int, WeightFile]:
    if not directory.is_dir():
        raise CheckpointError(f"{directory} is no directory; it must hold rank_0, rank_1 and so on")
    found = {}
    for rank in range(ranks):
        file = _file_of_rank(directory / f"rank_{rank}")
        if file is not None:
            found[rank] = open_weight_file(file)
    if not found:
        raise CheckpointError(f"{directory} has no checkpoints in rank_0 to rank_{ranks - 1}")
    beyond = [int(path.name[5:]) for path in directory.glob("rank_*") if path.name[5:].isdecimal()]
    if beyond and max(beyond) >= ranks:
        raise CheckpointError(f"{directory.name} has rank_{max(beyond)}, but the strategy is for {ranks} ranks")
    return found


def _file_of_rank(directory: Path) -> Path | None:
    """The one checkpoint in it, or the last when names are counted up as a person counts."""
    files = [file for pattern in ("*.ckpt", "*.safetensors") for file in directory.glob(pattern)]
    if len(files) > 1:
        files.sort(key=lambda file: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)])
        _log.warning("%s has %d checkpoints; %s is taken", directory.name, len(files), files[-1].name)
    return files[-1] if files else None
