"""What a file of packed weights says about itself (safetensors: a length, a JSON header, the data)."""

from __future__ import annotations

import json
from pathlib import Path

from skywork_rt.errors import CorruptBundleError

__all__ = ["embedding_bytes"]

_LARGEST_HEADER = 64 << 20


def embedding_bytes(path: Path) -> int:
    """Bytes that the embedding table takes in the file. Raises CorruptBundleError for a file that does not say so."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size <= _LARGEST_HEADER:
                raise ValueError(f"a header of {size} bytes")
            header = json.loads(file.read(size))
        spans = [entry["data_offsets"] for name, entry in header.items() if name.startswith("embed_tokens.")]
        ((begin, end),) = spans
        return int(end) - int(begin)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptBundleError(f"{path} is no file of packed weights with one embedding table: {error}") from error
