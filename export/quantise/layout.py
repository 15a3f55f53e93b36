"""How the native backend's kernels want a matrix to lie in its file.

A [rows, columns] matrix is cut into panels of 16 rows (the last one filled up with zeros), and each row into groups of
32 inputs. A panel is its scales, padded with zeros to a multiple of 64 bytes, then its codes; within both the groups
follow one another. Little endian; "row" is the row within the panel:

    scales  int8   [16 rows] float16 a group
            int4   [16 rows] float16 scales, then [16 rows] float16 minimums a group
    codes   f32    [32 inputs][16 rows] float32 a group
            bf16   [16 pairs of inputs][16 rows][2] bfloat16 a group
            int8   [8 fours of inputs][16 rows][4] int8 a group
            int4   [4 eights of inputs][16 rows][4] bytes a group: byte b holds input b of the eight in its low and
                   input 4 + b in its high half

csrc/backend/native/packed_matrix.h says the same to the compiler.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.export.quantise.codes import GROUP, Codes

__all__ = ["KINDS", "PANEL_ROWS", "pack_bf16", "pack_f32", "pack_int4", "pack_int8", "packed_shape"]

PANEL_ROWS = 16
KINDS = ("f32", "bf16", "int8", "int4")
_ALIGNMENT = 64
_SCALE_BYTES = {"f32": 0, "bf16": 0, "int8": 32, "int4": 64}
_CODE_BYTES = {"f32": 2048, "bf16": 1024, "int8": 512, "int4": 256}


def packed_shape(kind: str, rows: int, columns: int) -> tuple[int, int]:
    """Panels, and bytes of a panel, of a packed matrix."""
    groups = -(-columns // GROUP)
    scales = -(-groups * _SCALE_BYTES[kind] // _ALIGNMENT) * _ALIGNMENT
    return -(-rows // PANEL_ROWS), scales + groups * _CODE_BYTES[kind]


def pack_f32(rows: Float32Array) -> NDArray[np.uint8]:
    """uint8 [panels, panel bytes] of any number of rows; only the last rows of a matrix may leave a panel unfilled."""
    panels = _panels(rows)
    return _join(None, panels.transpose(0, 2, 3, 1))


def pack_bf16(rows: Float32Array) -> NDArray[np.uint8]:
    """Rounds to nearest, ties to even."""
    panels = _panels(rows)
    bits = panels.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    halves = np.where(np.isnan(panels), np.uint32(0x7FC0), rounded).astype(np.uint16)
    count, _, groups, _ = halves.shape
    return _join(None, halves.reshape(count, PANEL_ROWS, groups, GROUP // 2, 2).transpose(0, 2, 3, 1, 4))


def pack_int8(codes: Codes) -> NDArray[np.uint8]:
    values, scales = _fill(codes.codes), _fill(codes.scales)
    panels, groups = len(values) // PANEL_ROWS, values.shape[1]
    fours = values.reshape(panels, PANEL_ROWS, groups, GROUP // 4, 4).transpose(0, 2, 3, 1, 4)
    return _join(scales.reshape(panels, PANEL_ROWS, groups).transpose(0, 2, 1), fours)


def pack_int4(codes: Codes) -> NDArray[np.uint8]:
    if codes.minimums is None:
        raise ValueError("int4 codes have minimums")
    values = _fill(codes.codes).view(np.uint8)
    panels, groups = len(values) // PANEL_ROWS, values.shape[1]
    eights = values.reshape(panels, PANEL_ROWS, groups, GROUP // 8, 2, 4)
    nibbles = (eights[..., 0, :] | (eights[..., 1, :] << 4)).transpose(0, 2, 3, 1, 4)
    pairs = np.stack([_fill(codes.scales), _fill(codes.minimums)], axis=-1)
    return _join(pairs.reshape(panels, PANEL_ROWS, groups, 2).transpose(0, 2, 3, 1), nibbles)


def _fill(rows: NDArray[np.generic]) -> NDArray[np.generic]:
    missing = -len(rows) % PANEL_ROWS
    if missing == 0:
        return rows
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])


def _panels(rows: Float32Array) -> Float32Array:
    """float32 [panels, 16, groups, 32], filled up with zeros."""
    count, columns = rows.shape
    panels, groups = -(-count // PANEL_ROWS), -(-columns // GROUP)
    if (count, columns) != (panels * PANEL_ROWS, groups * GROUP):
        padded = np.zeros((panels * PANEL_ROWS, groups * GROUP), np.float32)
        padded[:count, :columns] = rows
        rows = padded
    return rows.reshape(panels, PANEL_ROWS, groups, GROUP)


def _join(scales: NDArray[np.generic] | None, codes: NDArray[np.generic]) -> NDArray[np.uint8]:
    panels = len(codes)
    parts = []
    if scales is not None:
        flat = np.ascontiguousarray(scales).view(np.uint8).reshape(panels, -1)
        parts = [flat, np.zeros((panels, -flat.shape[1] % _ALIGNMENT), np.uint8)]
    parts.append(np.ascontiguousarray(codes).view(np.uint8).reshape(panels, -1))
    return np.concatenate(parts, axis=1)
