"""A weight is itself, rounded to nearest, ties to even. Codes of a group: bfloat16 [16 pairs of inputs][16 rows][2]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.export.quantise.layout import GROUP, PANEL_ROWS, joined, panels_of, panels_of_words
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


TYPE = WeightType("bf16", scale_bytes=0, code_bytes=1024, pack=_pack, raw_types=("BF16",), pack_raw=_pack_raw)
