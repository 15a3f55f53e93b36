"""MindFormers' device-cache contract as data: inputs of both graphs in their order, with the dimensions that move.

Read in MindFormers 1.0.2 (`LlamaForCausalLM.prepare_inputs_for_export`). The exporter, the configuration for GE, the
verifier and the tests read the same table; MindSpore is not needed for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from skywork_rt.export.device_cache import FULL, INCREMENTAL, DeviceForm, Gear, Role

__all__ = ["DeviceInput", "inputs"]

_BATCH, _LENGTH, _TOKENS = "batch", "length", "tokens"


@dataclass(frozen=True)
class DeviceInput:
    """One input. A dimension is a number, or the name of what a gear makes it: batch, length, or their product."""

    name: str
    dtype: DTypeLike
    shape: tuple[int | str, ...]

    def at(self, gear: Gear) -> tuple[int, ...]:
        """The shape in a gear."""
        batch, length = gear
        moving = {_BATCH: batch, _LENGTH: length, _TOKENS: batch * length}
        return tuple(moving[size] if isinstance(size, str) else size for size in self.shape)

    def open_shape(self) -> tuple[int | None, ...]:
        """The shape with None where a gear decides."""
        return tuple(None if isinstance(size, str) else size for size in self.shape)


def inputs(role: Role, form: DeviceForm) -> list[DeviceInput]:
    """The inputs in the order of the file.

    `batch_valid_length` counts the tokens of a row, those of this call included. Of `zactivate_len` only the shape
    matters. Paged graphs have neither `batch_index` nor `zactivate_len`.
    """
    new: int | str = _LENGTH if role == FULL else 1
    specs = [
        DeviceInput("tokens", np.int32, (_BATCH, new)),
        DeviceInput("batch_valid_length", np.int32, (_BATCH,)),
    ]
    if form.form != "paged":
        specs.append(DeviceInput("batch_index", np.int64, (_BATCH,)))
        specs.append(DeviceInput("zactivate_len", np.int64, (_LENGTH,)))
        return specs
    if role == INCREMENTAL:
        specs.append(DeviceInput("block_tables", np.int32, (_BATCH, form.table)))
    specs.append(DeviceInput("slot_mapping", np.int32, (_TOKENS if role == FULL else _BATCH,)))
    return specs
