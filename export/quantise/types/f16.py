"""A weight is itself, of a GGUF file that has float16. Codes of a group: float16 [32 inputs][16 rows]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.export.quantise.layout import GROUP, PANEL_ROWS, joined, panels_of_words, parted, rows_of
from skywork_rt.export.quantise.weight_type import WeightType

__all__ = ["TYPE"]


def _pack(raw: RawTensor, start: int, stop: int) -> NDArray[np.uint8]:
    words = np.ascontiguousarray(raw.blocks[start:stop]).view("<u2")
    return joined(None, panels_of_words(words).transpose(0, 2, 3, 1))


def _unpack(panels: NDArray[np.uint8], columns: int) -> Float32Array:
    _, codes = parted(panels, 0, _CODE_BYTES)
    values = codes.view("<f2").reshape(*codes.shape[:2], GROUP, PANEL_ROWS)
    return rows_of(values.transpose(0, 3, 1, 2), columns).astype(np.float32)


_CODE_BYTES = 1024

TYPE = WeightType("f16", scale_bytes=0, code_bytes=_CODE_BYTES, unpack=_unpack, raw_types=("F16",), pack_raw=_pack)
