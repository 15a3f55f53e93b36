"""The columns of a MindRecord, read from its header without MindSpore.

A file begins with the length of its header (8 bytes, little endian) and the header itself, JSON, whose `schema` lists
the columns (MindSpore 2.7, minddata/mindrecord/io/shard_writer.cc).
"""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["columns_of"]

_LARGEST = 1 << 26


def columns_of(path: Path) -> frozenset[str] | None:
    """Names of the columns; None for what has no such header, which MindSpore's reader will refuse with its reason."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= _LARGEST:
                return None
            header = json.loads(file.read(length))
        return frozenset(name for schema in header["schema"] for name in schema["schema"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
