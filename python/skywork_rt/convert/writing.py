"""Writing tensors of a plan to their places."""

from __future__ import annotations

import binascii
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.tensors.weight_file import STORAGE_TYPES
from skywork_rt.convert.partial import Checksums, journal_line
from skywork_rt.convert.plan import Plan, PlannedTensor, Unit
from skywork_rt.errors import CapacityError, InternalError

__all__ = ["write_units"]

_MOST_AT_ONCE = 1 << 30


def write_units(plan: Plan, units: Sequence[Unit], root: Path, journal: Path, report: Callable[[int], None]) -> None:
    """Writes `units` below `root` and notes each in the journal; `report` hears the bytes of each.

    Raises CapacityError when the disk is full, and what reading a tensor raises.
    """
    with journal.open("a", encoding="ascii") as notes:
        for unit in units:
            checksums = _write_unit(plan, unit, root)
            notes.write(journal_line(unit, checksums))
            notes.flush()
            report(plan.size(unit))


def _write_unit(plan: Plan, unit: Unit, root: Path) -> Checksums:
    file = plan.files[unit[0]]
    content = _bytes(file.tensors[unit[1]])
    position, stop = file.layout.spans[unit[1]]
    part = 0
    try:
        with (root / file.path).open("r+b", buffering=0) as opened:
            for piece in file.layout.pieces(unit[1], content):
                part = binascii.crc32(piece, part)
                position = _pwrite(opened.fileno(), piece, position)
    except OSError as error:
        raise CapacityError(f"{file.path} cannot be written at byte {position}: {error.strerror}") from error
    if position != stop:
        raise InternalError(f"tensor {file.tensors[unit[1]].spec.name} took bytes to {position}, not to {stop}")
    return Checksums(part, binascii.crc32(content))


def _bytes(tensor: PlannedTensor) -> memoryview:
    spec, values = tensor.spec, tensor.load()
    if values.shape != spec.shape or values.dtype != STORAGE_TYPES[spec.dtype]:
        raise InternalError(f"tensor {spec.name} came as {values.dtype}{list(values.shape)}, not as {spec}")
    flat: NDArray[Any] = np.ascontiguousarray(values).reshape(-1)
    return flat.view(np.uint8).data


def _pwrite(handle: int, piece: bytes | memoryview, position: int) -> int:
    view = memoryview(piece)
    done = 0
    while done < len(view):
        done += os.pwrite(handle, view[done : done + _MOST_AT_ONCE], position + done)
    return position + done
