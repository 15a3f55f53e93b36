"""GGUF's types of blocks, kept as they are in the file: the same codes and scales, sorted for the kernels.

Codes of a group lie in planes (`planes`). Scales of the types of 32 weights are float16 [16 rows] and, for Q5_1,
float16 [16 rows] minimums. Those of the types of 256 weights are a unit for eight groups: float16 [16 rows], where
minimums are stored float16 [16 rows] more, then for each group (for each half of it, where halves have their own) its
small whole numbers, uint8 or int8 [16 rows], and those of its minimums after them, or for Q2_K both in one byte, the
scale in its low half.

Q4_1 is our int4 and Q8_0 our int8; F16, BF16 and F32 are f16, bf16 and f32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array, RawTensor
from skywork_rt.export.quantise.ggml_blocks import BLOCK_READERS, Blocks, Bytes
from skywork_rt.export.quantise.layout import GROUP, PANEL_ROWS, filled, joined
from skywork_rt.export.quantise.planes import codes_of, plane_bytes, planes
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


@dataclass(frozen=True)
class _Form:
    """What a type's codes and scales mean: csrc/backend/native/kernels/types/gguf.h says the same."""

    bits: tuple[int, ...]
    zero: int = 0
    """A code that stands for the weight 0, where no minimums are stored."""
    stored_minimums: bool = False
    parts: int = 0
    """Small whole numbers of a group (0: scales are float16 alone)."""
    numbers: NDArray[np.float32] | None = None
    """What codes stand for, where that is not themselves."""

    def halves(self) -> int:
        return 2 if self.stored_minimums else 1


def _unpack(panels: NDArray[np.uint8], columns: int, form: _Form, scale_bytes: int) -> Float32Array:
    """As the kernels' plain reading does: scale * code + minimum, in float32."""
    groups = -(-columns // GROUP)
    units = -(-groups // _UNIT) if form.parts else groups
    code_bytes = groups * plane_bytes(*form.bits)
    codes = codes_of(panels[:, -code_bytes:].reshape(len(panels), groups, -1), *form.bits)
    unit = panels[:, : units * scale_bytes].reshape(len(panels), units, scale_bytes)
    scales, minimums = _scales(unit, form)  # [rows, groups, parts]
    values = codes.astype(np.float32) if form.numbers is None else form.numbers[codes]
    parted = values.reshape(len(values), groups, max(1, form.parts), -1)
    weights = parted * scales[:, :groups, :, None] + minimums[:, :groups, :, None]
    return np.ascontiguousarray(weights.reshape(len(values), -1)[:, :columns], np.float32)


def _scales(unit: NDArray[np.uint8], form: _Form) -> tuple[Float32Array, Float32Array]:
    panels, units, _ = unit.shape
    head = 2 * PANEL_ROWS * form.halves()
    halves = np.ascontiguousarray(unit[..., :head]).view("<f2").reshape(panels, units, form.halves(), PANEL_ROWS)
    whole = halves.transpose(2, 0, 3, 1).reshape(form.halves(), -1, units).astype(np.float32)
    if not form.parts:
        scales = whole[0][..., None]
        return scales, whole[1][..., None] if form.stored_minimums else np.float32(-form.zero) * scales
    small = unit[..., head:].reshape(panels, units, _UNIT, form.parts, -1, PANEL_ROWS)
    small = small.transpose(4, 0, 5, 1, 2, 3).reshape(small.shape[4], -1, units, _UNIT, form.parts)
    if form.stored_minimums and len(small) == 1:
        small = np.stack([small[0] & 0xF, small[0] >> 4])
    signed = small if form.stored_minimums else small.view(np.int8)
    scales = (whole[0][..., None, None] * signed[0].astype(np.float32)).reshape(len(whole[0]), -1, form.parts)
    if not form.stored_minimums:
        return scales, np.float32(-form.zero) * scales
    minimums = -whole[1][..., None, None] * signed[1].astype(np.float32)
    return scales, minimums.reshape(len(whole[0]), -1, form.parts)


def _type(gguf: str, scale_bytes: int, form: _Form) -> WeightType:
    return WeightType(
        gguf.lower(),
        scale_bytes=scale_bytes,
        scale_groups=_UNIT if form.parts else 1,
        code_bytes=plane_bytes(*form.bits),
        unpack=lambda panels, columns: _unpack(panels, columns, form, scale_bytes),
        raw_types=(gguf,),
        pack_raw=lambda raw, start, stop: _pack(raw, start, stop, form.bits),
    )


_UNEVEN = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
"""ggml's kvalues_iq4nl."""

TYPES = (
    _type("Q4_0", 32, _Form((4,), zero=8)),
    _type("Q5_0", 32, _Form((4, 1), zero=16)),
    _type("Q5_1", 64, _Form((4, 1), stored_minimums=True)),
    _type("Q2_K", 64 + 16 * 16, _Form((2,), stored_minimums=True, parts=2)),
    _type("Q3_K", 32 + 16 * 16, _Form((2, 1), zero=4, parts=2)),
    _type("Q4_K", 64 + 8 * 32, _Form((4,), stored_minimums=True, parts=1)),
    _type("Q5_K", 64 + 8 * 32, _Form((4, 1), stored_minimums=True, parts=1)),
    _type("Q6_K", 32 + 16 * 16, _Form((4, 2), zero=32, parts=2)),
    _type("IQ4_NL", 32, _Form((4,), numbers=_UNEVEN)),
    _type("IQ4_XS", 32 + 8 * 16, _Form((4,), parts=1, numbers=_UNEVEN)),
)
