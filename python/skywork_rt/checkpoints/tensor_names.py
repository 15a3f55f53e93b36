"""What formats have in common that call the tensors of a layer `model.layers.N.MODULE`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

__all__ = ["canonical_names"]

_LAYER = re.compile(r"model\.layers\.(0|[1-9]\d*)\.(.+)")


def canonical_names(top: Mapping[str, str], modules: Mapping[str, str]) -> Callable[[str], str | None]:
    """A function from a format's name of a tensor to ours, or to None for what is no weight of a model.

    `top` maps our names to the format's for tensors outside of the layers, `modules` our parts of a layer to its own.
    """
    top_names = {theirs: ours for ours, theirs in top.items()}
    parts = {theirs: ours for ours, theirs in modules.items()}

    def canonical(name: str) -> str | None:
        if name in top_names:
            return top_names[name]
        match = _LAYER.fullmatch(name)
        if match is None or match[2] not in parts:
            return None
        return f"layers.{match[1]}.{parts[match[2]]}"

    return canonical
