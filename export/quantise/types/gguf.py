"""GGUF's types of blocks, kept as they are in the file: the same codes and scales, sorted for the kernels.

Codes of a group lie in planes (`planes`). Scales of the types of 32 weights are float16 [16 rows] and, for Q5_1,
float16 [16 rows] minimums. Those of the types of 256 weights are a unit for eight groups: float16 [16 rows], where
minimums are stored float16 [16 rows] more, then for each group (for each half of it, where halves have their own) its
small whole numbers, uint8 or int8 [16 rows], and those of its minimums after them, or for Q2_K both in one byte, the
scale in its low half.

Q4_1 is our int4 and Q8_0 our int8; F16, BF16 and F32 are f16, bf16 and f32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import RawTensor
from skywork_rt.export.quantise.ggml_blocks import BLOCK_READERS, Blocks, Bytes
from skywork_rt.export.quantise.layout import GROUP, PANEL_ROWS, filled, joined
from skywork_rt.export.quantise.planes import plane_bytes, planes
from skywork_rt.export.quantise.weight_type import WeightType

__all__ = ["TYPES"]

_UNIT = 8


def _pack(raw: RawTensor, start: int, stop: int, bits: tuple[int, ...]) -> NDArray[np.uint8]:
    size, read = BLOCK_READERS[raw.type]
    blocks = read(raw.blocks[start:stop].reshape(stop - start, -1, size))
    codes = filled(blocks.codes.reshape(stop - start, -1, GROUP))
    return joined(_units(blocks), planes(codes.astype(np.uint8, copy=False), *bits))


def _units(blocks: Blocks) -> NDArray[np.uint8]:
    """uint8 [panels, units, bytes of a unit]."""
    parts = [_by_row(blocks.halves.reshape(*blocks.halves.shape[:-1], -1, 2))]  # [panels, units, halves, 16, 2]
    if blocks.small is not None:
        parts.append(_by_row(_numbers(blocks.small, blocks.small_minimums)))
    return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=-1)


def _numbers(small: Bytes, minimums: Bytes | None) -> Bytes:
    """[rows, units, numbers, 1]: scales, or scales and minimums in turn, or both in a byte where there are sixteen."""
    if minimums is None:
        numbers = small
    elif small.shape[-1] == 2 * _UNIT:
        numbers = small | minimums << 4
    else:
        numbers = np.stack([small, minimums], axis=-1)
    return numbers.reshape(*small.shape[:2], -1, 1)


def _by_row(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[rows, units, n, bytes] as [panels, units, n, 16 rows, bytes]."""
    whole = filled(values)
    rows, units, count, size = whole.shape
    panels = whole.reshape(rows // PANEL_ROWS, PANEL_ROWS, units, count, size)
    return np.ascontiguousarray(panels.transpose(0, 2, 3, 1, 4)).view(np.uint8)


def _type(gguf: str, bits: tuple[int, ...], scale_bytes: int, scale_groups: int = 1) -> WeightType:
    return WeightType(
        gguf.lower(),
        scale_bytes=scale_bytes,
        scale_groups=scale_groups,
        code_bytes=plane_bytes(*bits),
        raw_types=(gguf,),
        pack_raw=lambda raw, start, stop: _pack(raw, start, stop, bits),
    )


TYPES = (
    _type("Q4_0", (4,), 32),
    _type("Q5_0", (4, 1), 32),
    _type("Q5_1", (4, 1), 64),
    _type("Q2_K", (2,), 64 + 16 * 16, _UNIT),
    _type("Q3_K", (2, 1), 32 + 16 * 16, _UNIT),
    _type("Q4_K", (4,), 64 + 8 * 32, _UNIT),
    _type("Q5_K", (4, 1), 64 + 8 * 32, _UNIT),
    _type("Q6_K", (4, 2), 32 + 16 * 16, _UNIT),
    _type("IQ4_NL", (4,), 32),
    _type("IQ4_XS", (4,), 32 + 8 * 16, _UNIT),
)
