"""A weight is itself, rounded to nearest, ties to even. Codes of a group: bfloat16 [16 pairs of inputs][16 rows][2]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.export.quantise.layout import (
    GROUP,
    PANEL_ROWS,
    joined,
    panels_of,
    panels_of_words,
    parted,
    rows_of,
)
from skywork_rt.export.quantise.weight_type import WeightType

__all__ = ["TYPE"]


def _pack(rows: Float32Array, _name: str) -> NDArray[np.uint8]:
    panels = panels_of(rows)
    bits = panels.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    halves = np.where(np.isnan(panels), np.uint32(0x7FC0), rounded).astype(np.uint16)
    return _joined(halves)


def _pack_raw(raw: RawTensor, start: int, stop: int) -> NDArray[np.uint8]:
    return _joined(panels_of_words(np.ascontiguousarray(raw.blocks[start:stop]).view("<u2")))


def _joined(halves: NDArray[np.uint16]) -> NDArray[np.uint8]:
    count, _, groups, _ = halves.shape
    return joined(None, halves.reshape(count, PANEL_ROWS, groups, GROUP // 2, 2).transpose(0, 2, 3, 1, 4))


def _unpack(panels: NDArray[np.uint8], columns: int) -> Float32Array:
    _, codes = parted(panels, 0, _CODE_BYTES)
    halves = codes.view("<u2").reshape(*codes.shape[:2], GROUP // 2, PANEL_ROWS, 2).transpose(0, 3, 1, 2, 4)
    flat = halves.reshape(len(panels), PANEL_ROWS, codes.shape[1], GROUP)
    return (rows_of(flat, columns).astype(np.uint32) << np.uint32(16)).view(np.float32)


_CODE_BYTES = 1024

TYPE = WeightType(
    "bf16",
    scale_bytes=0,
    code_bytes=_CODE_BYTES,
    pack=_pack,
    unpack=_unpack,
    raw_types=("BF16",),
    pack_raw=_pack_raw,
)
