"""A weight is itself, of a GGUF file that has float16. Codes of a group: float16 [32 inputs][16 rows]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import RawTensor
from skywork_rt.export.quantise.layout import joined, panels_of_words
from skywork_rt.export.quantise.weight_type import WeightType

__all__ = ["TYPE"]


def _pack(raw: RawTensor, start: int, stop: int) -> NDArray[np.uint8]:
    words = np.ascontiguousarray(raw.blocks[start:stop]).view("<u2")
    return joined(None, panels_of_words(words).transpose(0, 2, 3, 1))


TYPE = WeightType("f16", scale_bytes=0, code_bytes=1024, raw_types=("F16",), pack_raw=_pack)
