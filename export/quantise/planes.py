"""How codes of a few bits lie in memory: csrc/backend/native/kernels/types/codes.h says the same to the compiler.

A plane holds some of the bits of each code. A line of it is 16 rows of 4 bytes; with B bits a code it holds 8 / B quads
of four consecutive inputs: byte b of a row has input b of the line's first quad in its lowest bits, then of the second,
and so on. Codes with more bits than a plane holds have a second plane, of their high bits, after the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.export.quantise.layout import GROUP, PANEL_ROWS

__all__ = ["codes_of", "plane_bytes", "planes"]


def plane_bytes(*bits: int) -> int:
    """Bytes of a group of 16 rows in planes of so many bits."""
    return sum(GROUP * PANEL_ROWS * one // 8 for one in bits)


def planes(codes: NDArray[Any], *bits: int) -> NDArray[np.uint8]:
    """uint8 [panels, groups, bytes] of codes [panels * 16, groups, 32]; the low bits are in the first plane."""
    parts, shift = [], 0
    for one in bits:
        parts.append(_plane((codes >> shift) & ((1 << one) - 1), one))
        shift += one
    return np.concatenate(parts, axis=-1)


def codes_of(codes: NDArray[np.uint8], *bits: int) -> NDArray[np.uint8]:
    """The inverse of `planes`: uint8 [panels * 16, groups, 32] of [panels, groups, bytes]."""
    parts = np.split(codes, np.cumsum([plane_bytes(one) for one in bits])[:-1], axis=-1)
    found, shift = np.zeros((len(codes) * PANEL_ROWS, codes.shape[1], GROUP), np.uint8), 0
    for one, part in zip(bits, parts, strict=True):
        np.bitwise_or(found, np.left_shift(_of_plane(part, one), shift), out=found)
        shift += one
    return found


def _of_plane(plane: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    panels, groups, _ = plane.shape
    lines = (
        plane.reshape(panels, groups, -1, 1, PANEL_ROWS, 4)
        >> (bits * np.arange(8 // bits, dtype=np.uint8))[:, None, None]
    )
    quads = (lines & ((1 << bits) - 1)).transpose(0, 4, 1, 2, 3, 5)  # [panels, rows, groups, lines, quads, 4]
    found: NDArray[np.uint8] = quads.reshape(panels * PANEL_ROWS, groups, GROUP)
    return found


def _plane(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    rows, groups, _ = codes.shape
    quads = 8 // bits
    lines = codes.reshape(rows // PANEL_ROWS, PANEL_ROWS, groups, GROUP // 4 // quads, quads, 4)
    shifted = lines << (bits * np.arange(quads, dtype=np.uint8))[:, None]
    joined: NDArray[np.uint8] = np.bitwise_or.reduce(shifted, axis=4)  # [panels, rows, groups, lines, 4]
    return joined.transpose(0, 2, 3, 1, 4).reshape(rows // PANEL_ROWS, groups, -1)
