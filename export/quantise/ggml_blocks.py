"""Takes blocks of GGUF's types apart: codes, and what their scales are made of. Nothing is rounded.

The layouts are those of ggml (ggml-common.h, and dequantize_row_* of ggml-quants.c); the ``gguf`` package, whose
dequantisation the tests compare with, says the same in numpy. A block is 32 weights, or 256 for the types whose scales
are small whole numbers times a float16 of the block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_READERS", "Blocks", "Bytes"]

Bytes: TypeAlias = NDArray[Any]
"""uint8, which the types of numpy's operations on bits do not keep."""


@dataclass(frozen=True)
class Blocks:
    """Some rows of a matrix.

    `codes` is uint8 [rows, columns], from 0 on. `halves` is uint8 [rows, blocks, 2 or 4]: a block's float16 scale and,
    where it has one, the float16 of its minimums, as bytes. `small` are the small whole numbers of a block, uint8
    [rows, blocks, numbers] (signed ones as their two's complement), and `small_minimums` those of its minimums.
    """

    codes: Bytes
    halves: Bytes
    small: Bytes | None = None
    small_minimums: Bytes | None = None


def _cut(blocks: Bytes, *sizes: int) -> list[Bytes]:
    return np.split(blocks, np.cumsum(sizes[:-1]), axis=-1)


def _rows(codes: Bytes) -> Bytes:
    """[rows, blocks, …] as [rows, columns]."""
    return np.ascontiguousarray(codes.reshape(len(codes), -1))


def _nibbles(packed: Bytes) -> Bytes:
    """Low halves of all bytes, then the high ones."""
    return np.concatenate([packed & 0xF, packed >> 4], axis=-1)


def _bits(packed: Bytes) -> Bytes:
    """The bits of each byte, from the lowest on: [..., bytes * 8]."""
    return np.unpackbits(packed, axis=-1, bitorder="little")


def _q4_0(blocks: Bytes) -> Blocks:
    halves, packed = _cut(blocks, 2, 16)
    return Blocks(_rows(_nibbles(packed)), halves)


def _q5_0(blocks: Bytes) -> Blocks:
    halves, high, packed = _cut(blocks, 2, 4, 16)
    return Blocks(_rows(_nibbles(packed) | _bits(high) << 4), halves)


def _q5_1(blocks: Bytes) -> Blocks:
    halves, high, packed = _cut(blocks, 4, 4, 16)
    return Blocks(_rows(_nibbles(packed) | _bits(high) << 4), halves)


def _twos(packed: Bytes) -> Bytes:
    """256 codes of two bits: each 32 bytes hold four times 32 of them, the first in the lowest bits."""
    parts = packed.reshape(*packed.shape[:-1], 2, 1, 32) >> np.array([[0], [2], [4], [6]], np.uint8)
    return (parts & 3).reshape(*packed.shape[:-1], 256)


def _ones(packed: Bytes) -> Bytes:
    """256 bits in 32 bytes: bit i of all bytes, then bit i + 1."""
    parts: Bytes = np.right_shift(packed[..., None, :], np.arange(8, dtype=np.uint8)[:, None])
    return (parts & 1).reshape(*packed.shape[:-1], 256)


def _pairs(packed: Bytes) -> Bytes:
    """256 codes of four bits: each 32 bytes hold 32 in their low halves, then 32 in the high ones."""
    parts = packed.reshape(*packed.shape[:-1], 4, 1, 32) >> np.array([[0], [4]], np.uint8)
    return (parts & 0xF).reshape(*packed.shape[:-1], 256)


def _q2_k(blocks: Bytes) -> Blocks:
    small, packed, halves = _cut(blocks, 16, 64, 4)
    return Blocks(_rows(_twos(packed)), halves, small & 0xF, small >> 4)


def _q3_k(blocks: Bytes) -> Blocks:
    high, packed, small, halves = _cut(blocks, 32, 64, 12, 2)
    # Four low bits of sixteen numbers in eight bytes, then two high bits of each in four; 32 is to be subtracted.
    low = _nibbles(small[..., :8])
    top = small[..., None, 8:] >> np.array([[0], [2], [4], [6]], np.uint8)
    numbers = low | (top & 3).reshape(*small.shape[:-1], 16) << 4
    return Blocks(_rows(_twos(packed) | _ones(high) << 2), halves, numbers - np.uint8(32))


def _sixes(small: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales and eight minimums of six bits in twelve bytes."""
    first, second, third = _cut(small, 4, 4, 4)
    scales = np.concatenate([first & 63, (third & 0xF) | (first >> 6) << 4], axis=-1)
    minimums = np.concatenate([second & 63, third >> 4 | (second >> 6) << 4], axis=-1)
    return scales, minimums


def _q4_k(blocks: Bytes) -> Blocks:
    halves, small, packed = _cut(blocks, 4, 12, 128)
    return Blocks(_rows(_pairs(packed)), halves, *_sixes(small))


def _q5_k(blocks: Bytes) -> Blocks:
    halves, small, high, packed = _cut(blocks, 4, 12, 32, 128)
    return Blocks(_rows(_pairs(packed) | _ones(high) << 4), halves, *_sixes(small))


def _q6_k(blocks: Bytes) -> Blocks:
    low, high, small, halves = _cut(blocks, 128, 64, 16, 2)
    # Each 64 bytes hold the low four bits of 128 codes: 64 in their low halves, then 64 in the high ones.
    parts = low.reshape(*low.shape[:-1], 2, 1, 64) >> np.array([[0], [4]], np.uint8)
    nibbles = (parts & 0xF).reshape(*low.shape[:-1], 256)
    return Blocks(_rows(nibbles | _twos(high) << 4), halves, small)


def _iq4_xs(blocks: Bytes) -> Blocks:
    halves, top, low, packed = _cut(blocks, 2, 2, 4, 128)
    numbers = np.stack([low & 0xF, low >> 4], axis=-1).reshape(*low.shape[:-1], 8)
    tops = np.ascontiguousarray(top).view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16)
    numbers = numbers | (tops & 3).astype(np.uint8) << 4
    return Blocks(_rows(_nibbles(packed.reshape(*packed.shape[:-1], 8, 16))), halves, numbers - np.uint8(32))


BLOCK_READERS = {
    "Q4_0": (18, _q4_0),
    "Q5_0": (22, _q5_0),
    "Q5_1": (24, _q5_1),
    "Q2_K": (84, _q2_k),
    "Q3_K": (110, _q3_k),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
    "IQ4_NL": (18, _q4_0),
    "IQ4_XS": (136, _iq4_xs),
}
"""GGUF's type to the bytes of a block, and what takes blocks uint8 [rows, blocks, bytes] apart."""
