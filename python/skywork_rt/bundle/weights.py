"""What the weights of a bundle are, in words."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from skywork_rt.bundle.info import BundleInfo

__all__ = ["describe_weights"]

_LARGEST_HEADER = 64 << 20  # bytes
_COARSE = "int4"


def describe_weights(bundle: BundleInfo) -> list[str]:
    """The names of a bundle's weights, with a word on those that differ from what their users may expect.

    int4 is named as the choice that it is: rounding to it costs a model more than its size suggests, unless the
    checkpoint itself came in 4 bits.
    """
    names = bundle.section("weights")
    return [
        f"{name} ({note})" if (note := _note(bundle.directory / Path(str(file)).name, name, len(names) == 1)) else name
        for name, file in names.items()
    ]


def _note(path: Path, name: str, alone: bool) -> str:
    if name != _COARSE:
        return ""
    lossless = _facts(path).get("lossless")
    if lossless == "true":
        return "the checkpoint's own numbers"
    if lossless == "false":
        return "rounded coarsely" if alone else "rounded coarsely: taken only by name"
    return ""


def _facts(path: Path) -> dict[str, str]:
    """The metadata of a weights file; empty where it cannot be read, which opening the bundle tells in full."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            facts = json.loads(file.read(length)).get("__metadata__") if length <= _LARGEST_HEADER else None
    except (OSError, ValueError, struct.error, AttributeError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
