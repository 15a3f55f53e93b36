"""Strategy files of MindSpore: which part of every parameter each rank holds.

A strategy file is `ParallelStrategyMap` of mindspore's node_strategy.proto (2.7.2), or the same as JSON. A run with
pipeline stages leaves one a stage (and a copy for each of its ranks), or one that
mindspore.merge_pipeline_strategys has made of them, in which the names of parameters begin with the number of their
stage and a hyphen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt.checkpoints.huggingface.json_file import read_json_object
from skywork_rt.checkpoints.mindspore.wire import BYTES, VARINT, Field, WireError, fields, length_prefix, varint
from skywork_rt.checkpoints.mindspore.wire import whole_number as wire_number
from skywork_rt.checkpoints.mindspore.wire import whole_numbers as wire_numbers
from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError

__all__ = ["ParameterLayout", "Strategy", "read_strategy", "strategy_bytes"]

_LARGEST_FILE, _MOST_DEVICES, _MOST_DIMENSIONS = 256 << 20, 1 << 20, 16
_STAGE = re.compile(r"(\d{1,4})-(.+)")


@dataclass(frozen=True)
class ParameterLayout:
    """Which part of one parameter a rank of a stage holds.

    `device_matrix` arranges the stage's ranks, the last dimension varying fastest. `tensor_map` has, for each axis, the
    dimensions of that matrix, counted from the last one, among which the axis is divided, the outermost first; none
    leaves it whole. `optimizer_size` ranks that hold the same part, `optimizer_step` apart, divide its first axis
    further (the optimizer's shard); 0 for none, -1 for all of them.
    """

    device_matrix: tuple[int, ...]
    tensor_map: tuple[tuple[int, ...], ...]
    optimizer_step: int = 0
    optimizer_size: int = 0

    @property
    def devices(self) -> int:
        """Ranks of the stage."""
        return math.prod(self.device_matrix)


@dataclass(frozen=True)
class Strategy:
    """Layouts by name for every stage; rank = stage · devices + place in the stage."""

    stages: Sequence[Mapping[str, ParameterLayout]]
    devices: int
    where: str = "the strategy"

    @property
    def ranks(self) -> int:
        """All ranks."""
        return len(self.stages) * self.devices


def read_strategy(path: Path) -> Strategy:
    """One strategy file (.json, or else protobuf), or a directory with those of all stages.

    Raises CheckpointError for files that are damaged, contradict each other or leave out a stage.
    """
    if path.is_dir():
        found = _directory_stages(path)
    elif path.exists():
        found = _file_stages(path)
    else:
        raise CheckpointError(f"the strategy {path} does not exist")
    if not found:
        raise CheckpointError(f"{path.name} has no layout of a parameter")
    missing = sorted(set(range(max(found) + 1)) - set(found))
    if missing:
        raise CheckpointError(f"{path.name} has no layouts of stage {missing[0]}, but some of stage {max(found)}")
    stages = [found[stage] for stage in sorted(found)]
    return Strategy(stages, _devices(stages, path.name), path.name)


def _directory_stages(directory: Path) -> dict[int, Mapping[str, ParameterLayout]]:
    files = sorted(file for file in directory.iterdir() if file.suffix in (".ckpt", ".json") and file.is_file())
    if not files:
        raise CheckpointError(
            f"{directory} has no strategy files; MindSpore calls them ckpt_strategy_rank_0.ckpt and so on"
        )
    stages: dict[int, Mapping[str, ParameterLayout]] = {}
    origin: dict[int, Path] = {}
    for file in files:
        for stage, layouts in _file_stages(file).items():
            if stage in stages and stages[stage] != layouts:
                raise CheckpointError(f"{origin[stage].name} and {file.name} give stage {stage} different layouts")
            stages[stage], origin[stage] = layouts, file
    return stages


def _devices(stages: Sequence[Mapping[str, ParameterLayout]], where: str) -> int:
    first: tuple[int, str] | None = None
    for layouts in stages:
        for name, layout in layouts.items():
            if first is None:
                first = (layout.devices, name)
            elif layout.devices != first[0]:
                raise CheckpointError(
                    f"{where} arranges {layout.devices} ranks for {name}, but {first[0]} for {first[1]}"
                )
    return first[0] if first else 1


def _file_stages(path: Path) -> dict[int, Mapping[str, ParameterLayout]]:
    refuse_stand_in(path)
    if path.stat().st_size > _LARGEST_FILE:
        raise CheckpointError(f"{path.name} has {path.stat().st_size} bytes; a strategy file is far smaller")
    try:
        if path.suffix == ".json":
            stage, layouts = _parse_json(read_json_object(path))
        else:
            stage, layouts = _parse_map(path.read_bytes())
        stages: dict[int, dict[str, ParameterLayout]] = {}
        for full, layout in layouts:
            match = _STAGE.fullmatch(full)
            where, name = (int(match[1]), match[2]) if match else (stage, full)
            if name in stages.setdefault(where, {}):
                raise WireError(f"it has the layout of {full} twice")
            stages[where][name] = layout
    except WireError as error:
        raise CheckpointError(f"{path.name} is damaged or no strategy file of MindSpore: {error}") from error
    return dict(stages)


_Layouts = list[tuple[str, ParameterLayout]]


def _parse_map(data: bytes) -> tuple[int, _Layouts]:
    stage, layouts = None, []
    for field in fields(data, 0, len(data)):
        if field.number == 2 and field.kind == BYTES and stage is None:
            stage = _stage_of_item(data, field)
        elif field.number == 3 and field.kind == BYTES:
            layouts.append(_parse_item(data, field))
        elif field.number not in (1, 2):
            raise WireError(f"byte {field.start} belongs to the unknown field {field.number}")
    return stage or 0, layouts


def _stage_of_item(data: bytes, item: Field) -> int:
    for field in fields(data, item.start, item.stop):
        if field.number == 2 and field.kind == BYTES:
            for inner in fields(data, field.start, field.stop):
                if inner.number == 1 and inner.kind == VARINT:
                    return _checked_stage(inner.value)
    return 0


def _checked_stage(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST_DEVICES:
        raise WireError(f"it has a stage {str(value)[:40]}")
    return value


def _parse_item(data: bytes, item: Field) -> tuple[str, ParameterLayout]:
    name, layout = None, None
    for field in fields(data, item.start, item.stop):
        if field.number == 1 and field.kind == BYTES:
            try:
                name = data[field.start : field.stop].decode("utf-8")
            except UnicodeDecodeError as error:
                raise WireError(f"the name at byte {field.start} is not UTF-8") from error
        elif field.number == 2 and field.kind == BYTES:
            layout = _parse_layout(data, field)
    if not name or layout is None:
        raise WireError(f"the layout at byte {item.start} has no name or no content")
    return name, layout


def _parse_layout(data: bytes, message: Field) -> ParameterLayout:
    matrices: list[list[int]] = []
    maps: list[list[int]] = []
    numbers = {6: 0, 7: 0}
    for field in fields(data, message.start, message.stop):
        if field.number == 1:
            matrices.append(_dims(data, field))
        elif field.number == 2:
            maps.append(_dims(data, field))
        elif field.number in numbers:
            numbers[field.number] = wire_number(data, field)
        if len(maps) > _MOST_DIMENSIONS:
            raise WireError(f"the layout at byte {message.start} has more than {_MOST_DIMENSIONS} axes")
    # Several maps: one for each axis, which may be divided among several dimensions.
    axes: list[Any] = [axis for axis in maps if axis] if len(maps) > 1 else [*(maps[0] if maps else [])]
    return _layout(matrices[0] if matrices else [], axes, numbers[6], numbers[7])


def _dims(data: bytes, message: Field) -> list[int]:
    if message.kind != BYTES:
        raise WireError(f"byte {message.start} is no list of dimensions")
    found: list[int] = []
    for field in fields(data, message.start, message.stop):
        if field.number == 1 and field.stop - field.start <= 10 * _MOST_DIMENSIONS:
            found += wire_numbers(data, field)
        if len(found) > _MOST_DIMENSIONS:
            raise WireError(f"the list at byte {message.start} has more than {_MOST_DIMENSIONS} dimensions")
    return found


def _layout(matrix: Sequence[Any], axes: Sequence[Any], step: Any, size: Any) -> ParameterLayout:
    """Checked: positive sizes, existing dimensions, each used once."""
    matrix = list(matrix) or [1]
    listed = [list(axis) if isinstance(axis, list) else [axis] for axis in axes]
    flat = [item for axis in listed for item in axis]
    if any(type(item) is not int for item in (*matrix, *flat, step, size)) or len(flat) > _MOST_DIMENSIONS:
        raise WireError("a layout has something that is no whole number, or too many of them")
    if len(matrix) > _MOST_DIMENSIONS or not all(0 < size <= _MOST_DEVICES for size in matrix):
        raise WireError(f"a layout arranges its ranks as {str(matrix)[:60]}")
    if math.prod(matrix) > _MOST_DEVICES:
        raise WireError(f"a layout has {math.prod(matrix)} ranks; at most {_MOST_DEVICES} are taken")
    used = [item for item in flat if item != -1]
    if any(not 0 <= item < len(matrix) for item in used) or len(set(used)) != len(used):
        raise WireError(f"a layout divides its axes among {str(listed)[:60]} of {len(matrix)} dimensions")
    if size < -1 or step < 0 or max(size, step) > _MOST_DEVICES:
        raise WireError(f"a layout has an optimizer shard of step {step} and size {size}")
    tensor_map = tuple(tuple(item for item in axis if item != -1) for axis in listed)
    return ParameterLayout(tuple(matrix), tensor_map, step, size)


def _parse_json(body: Mapping[str, Any]) -> tuple[int, _Layouts]:
    items, strategies = body.get("parallel_layout_item") or {}, body.get("parallel_strategy_item") or {}
    if not isinstance(items, dict) or not isinstance(strategies, dict):
        raise WireError("parallel_layout_item or parallel_strategy_item is no object")
    first: Any = next(iter(strategies.values()), {})
    stage = _checked_stage(first.get("stage", 0)) if isinstance(first, dict) else 0
    return stage, [(name, _json_layout(name, item)) for name, item in items.items()]


def _json_layout(name: str, item: Any) -> ParameterLayout:
    if not isinstance(item, dict):
        raise WireError(f"the layout of {name[:80]} is no object")
    matrix, axes = item.get("dev_matrix", []), item.get("tensor_map", [])
    if not isinstance(matrix, list) or not isinstance(axes, list):
        raise WireError(f"the layout of {name[:80]} has no lists of dimensions")
    return _layout(matrix, axes, item.get("opt_weight_shard_step", 0), item.get("opt_weight_shard_size", 0))


def strategy_bytes(layouts: Mapping[str, ParameterLayout], stage: int) -> bytes:
    """The strategy file of one stage, as MindSpore writes it for each of its ranks."""
    node = _message(1, b"parameters") + _message(2, b"\x08" + varint(stage) + _message(2, b"\x08\x01"))
    out = b"\x08" + varint(stage) + _message(2, node)
    for name, layout in layouts.items():
        out += _message(3, _message(1, name.encode("utf-8")) + _message(2, _layout_bytes(layout)))
    return out


def _layout_bytes(layout: ParameterLayout) -> bytes:
    if any(len(axis) > 1 for axis in layout.tensor_map):
        maps = [list(axis) or [-1] for axis in layout.tensor_map]
    else:
        maps = [[axis[0] if axis else -1 for axis in layout.tensor_map]]
    out = _message(1, _repeated(layout.device_matrix))
    out += b"".join(_message(2, _repeated(axis)) for axis in maps)
    out += _message(3, b"") + _message(4, b"") + b"\x28\x00"
    return out + b"\x30" + varint(layout.optimizer_step) + b"\x38" + varint(layout.optimizer_size)


def _repeated(values: Iterable[int]) -> bytes:
    return b"".join(b"\x08" + varint(value) for value in values)


def _message(number: int, content: bytes) -> bytes:
    return length_prefix(number, len(content)) + content
