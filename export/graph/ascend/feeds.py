"""What the two graphs are fed in each form, for whole batches that begin together. For verifying, not for serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.export.device_cache import DeviceForm, Gear

__all__ = ["prompt_feeds", "step_feeds"]

Feeds = Mapping[str, NDArray[Any]]


def prompt_feeds(form: DeviceForm, prompts: Sequence[Sequence[int]], gear: Gear, pad: int = 0) -> Feeds:
    """Inputs of the full graph: prompt i in row i, rows and positions of the gear beyond them padded."""
    batch, length = gear
    tokens = np.full((batch, length), pad, np.int32)
    lengths = np.ones(batch, np.int32)
    slots = np.zeros((batch, length), np.int32)  # the first block takes what is padding
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
        lengths[row] = len(prompt)
        if form.form == "paged":
            slots[row, : len(prompt)] = [_slot(form, row, position) for position in range(len(prompt))]
    if form.form == "paged":
        return {"tokens": tokens, "batch_valid_length": lengths, "slot_mapping": slots.reshape(-1)}
    return {"tokens": tokens, "batch_valid_length": lengths, **_of_rows(gear)}


def step_feeds(form: DeviceForm, tokens: Sequence[int], lengths: Sequence[int], gear: Gear, pad: int = 0) -> Feeds:
    """Inputs of the incremental graph: `lengths` count the token of this call."""
    batch, rows = gear[0], len(tokens)
    padded = np.full((batch, 1), pad, np.int32)
    padded[:rows, 0] = tokens
    valid = np.ones(batch, np.int32)
    valid[:rows] = lengths
    if form.form != "paged":
        return {"tokens": padded, "batch_valid_length": valid, **_of_rows(gear)}
    tables = np.full((batch, form.table), -1, np.int32)
    tables[:rows] = [[_block(form, row, index) for index in range(form.table)] for row in range(rows)]
    tables[rows:, 0] = 0
    slots = np.zeros(batch, np.int32)
    slots[:rows] = [_slot(form, row, length - 1) for row, length in enumerate(lengths)]
    return {"tokens": padded, "batch_valid_length": valid, "block_tables": tables, "slot_mapping": slots}


def _of_rows(gear: Gear) -> Feeds:
    return {"batch_index": np.arange(gear[0], dtype=np.int64), "zactivate_len": np.zeros(gear[1], np.int64)}


def _block(form: DeviceForm, row: int, index: int) -> int:
    """Blocks of a row are far apart and in falling order: a graph that took them for neighbours would be found out."""
    rows = (form.blocks - 1) // form.table
    return form.blocks - 1 - (index * rows + row)


def _slot(form: DeviceForm, row: int, position: int) -> int:
    block, inside = divmod(position, form.block_tokens)
    return _block(form, row, block) * form.block_tokens + inside
