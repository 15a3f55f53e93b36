"""What a file of packed weights says about itself (safetensors: a length, a JSON header, the data)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skywork_rt.errors import CorruptBundleError

__all__ = ["WeightsHeader"]

_LARGEST_HEADER = 64 << 20
_METADATA = "__metadata__"


@dataclass(frozen=True)
class WeightsHeader:
    """The header of a weights file, as docs/bundle-format.md describes it."""

    path: Path
    entries: dict[str, Any]
    facts: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> WeightsHeader:
        """Raises CorruptBundleError for a file that has no such header."""
        try:
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                if not 0 < size <= _LARGEST_HEADER:
                    raise ValueError(f"a header of {size} bytes")
                entries = dict(json.loads(file.read(size)))
            return cls(path, entries, dict(entries.pop(_METADATA, {})))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CorruptBundleError(f"{path} is no file of packed weights: {error}") from error

    def types(self) -> Counter[str]:
        """How many matrices there are of each type; their names end in it. Vectors are not counted."""
        kinds = (name.rpartition(".")[2] for name, entry in self.entries.items() if _is_matrix(entry))
        return Counter(kinds)

    @property
    def lossless(self) -> bool:
        """Whether nothing was rounded when the file was made of its checkpoint."""
        return self.facts.get("lossless") == "true"

    def embedding_bytes(self) -> int:
        """Bytes that the embedding table takes. Raises CorruptBundleError when there is not one."""
        try:
            spans = [entry["data_offsets"] for name, entry in self.entries.items() if name.startswith("embed_tokens.")]
            ((begin, end),) = spans
            return int(end) - int(begin)
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptBundleError(
                f"{self.path} is no file of packed weights with one embedding table: {error}"
            ) from error


def _is_matrix(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("dtype") == "U8"
