"""How the native backend's kernels want a matrix to lie in its file, whatever its type.

A [rows, columns] matrix is cut into panels of 16 rows (the last one filled up with zeros), and each row into groups of
32 inputs. A panel is its scales, padded with zeros to a multiple of 64 bytes, then its codes; within both the groups
follow one another, little endian. The scales of a group, where a type has them, are float16 [16 rows], and minimums
float16 [16 rows] after them; some of GGUF's types have scales for eight groups together. How these and the codes of a
group lie is said by the type's module in `types`.

csrc/backend/native/kernels/packed_matrix.h says the same to the compiler.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array

__all__ = ["ALIGNMENT", "GROUP", "PANEL_ROWS", "filled", "joined", "panels_of", "panels_of_words", "parted", "rows_of"]

GROUP = 32
PANEL_ROWS = 16
ALIGNMENT = 64


def panels_of(rows: Float32Array) -> Float32Array:
    """float32 [panels, 16, groups, 32], filled up with zeros."""
    return panels_of_words(rows)


def panels_of_words(rows: NDArray[Any]) -> NDArray[Any]:
    """The same of numbers of any type."""
    count, columns = rows.shape
    panels, groups = -(-count // PANEL_ROWS), -(-columns // GROUP)
    if (count, columns) != (panels * PANEL_ROWS, groups * GROUP):
        padded = np.zeros((panels * PANEL_ROWS, groups * GROUP), rows.dtype)
        padded[:count, :columns] = rows
        rows = padded
    return rows.reshape(panels, PANEL_ROWS, groups, GROUP)


def filled(rows: NDArray[np.generic]) -> NDArray[np.generic]:
    """Whole panels: rows of zeros are added to any number of rows."""
    missing = -len(rows) % PANEL_ROWS
    if missing == 0:
        return rows
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])


def joined(scales: NDArray[np.generic] | None, codes: NDArray[np.generic]) -> NDArray[np.uint8]:
    """uint8 [panels, bytes of a panel] of scales and codes [panels, …] in the order of memory."""
    panels = len(codes)
    parts = []
    if scales is not None:
        flat = np.ascontiguousarray(scales).view(np.uint8).reshape(panels, -1)
        parts = [flat, np.zeros((panels, -flat.shape[1] % ALIGNMENT), np.uint8)]
    parts.append(np.ascontiguousarray(codes).view(np.uint8).reshape(panels, -1))
    return np.concatenate(parts, axis=1)


def parted(panels: NDArray[np.uint8], scale_bytes: int, code_bytes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The inverse of `joined`: uint8 [panels, groups, scale_bytes] of scales, [panels, groups, code_bytes] of codes."""
    count, size = panels.shape
    groups = size // (scale_bytes + code_bytes)  # the padding behind the scales is less than a group
    scales = np.ascontiguousarray(panels[:, : groups * scale_bytes]).reshape(count, groups, scale_bytes)
    return scales, np.ascontiguousarray(panels[:, size - groups * code_bytes :]).reshape(count, groups, code_bytes)


def rows_of(panels: NDArray[np.generic], columns: int) -> NDArray[np.generic]:
    """The inverse of `panels_of`: [panels * 16, columns] of [panels, 16, groups, 32]; filled rows stay."""
    count, rows, groups, width = panels.shape
    return np.ascontiguousarray(panels.reshape(count * rows, groups * width)[:, :columns])
