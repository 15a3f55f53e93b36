"""What the weights of a bundle are, in words."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.bundle.info import BundleInfo
from skywork_rt.bundle.weights_header import WeightsHeader
from skywork_rt.errors import CorruptBundleError

__all__ = ["describe_weights"]

_COARSE, _GGUF = "int4", "gguf"


def describe_weights(bundle: BundleInfo) -> list[str]:
    """The names of a bundle's weights, with a word on those that differ from what their users may expect.

    Those of a GGUF file are told with the types in it. int4 is named as the choice that it is: rounding to it costs a
    model more than its size suggests, unless the checkpoint itself came in 4 bits.
    """
    names = bundle.section("weights")
    return [
        f"{name} ({note})" if (note := _note(bundle.directory / Path(str(file)).name, name, len(names) == 1)) else name
        for name, file in names.items()
    ]


def _note(path: Path, name: str, alone: bool) -> str:
    if name not in (_COARSE, _GGUF):
        return ""
    try:
        header = WeightsHeader.read(path)
    except CorruptBundleError:
        return ""  # opening the bundle tells in full what is wrong
    if name == _GGUF:
        counts = ", ".join(f"{count} {kind}" for kind, count in header.types().most_common())
        return f"{counts}; nothing was rounded"
    if "lossless" not in header.facts:
        return ""  # random weights
    if header.lossless:
        return "the checkpoint's own numbers"
    return "rounded coarsely" if alone else "rounded coarsely: taken only by name"
