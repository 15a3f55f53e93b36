"""Lite's offline converter: from a legalised MindIR to the file that the bundle keeps."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.errors import BackendError
from skywork_rt.export.graph.child import run_child
from skywork_rt.export.graph.tools import LiteTools

__all__ = ["CONVERTER_BYTES_PER_WEIGHT_BYTE", "convert"]

CONVERTER_BYTES_PER_WEIGHT_BYTE = 3.7
"""The converter's peak memory over the size of the weights, measured at 0.65 and at 2.4 GB."""


def convert(tools: LiteTools, source: Path, target: Path) -> None:
    """Converts `source` to `target`, whose ending is one of `GRAPH_FORMATS`.

    With `.ms` and over 2 GiB of weights, Lite puts them into a second file beside it, `.msw`, which the first names
    without a directory. Raises BackendError in the converter's own words.
    """
    command = [str(tools.convert), str(source), str(target)]
    run_child(command, doing=f"optimising {target.name} with Lite's converter", env=tools.env, cwd=source.parent)
    if not target.exists():
        raise BackendError(f"Lite's converter reported success, but {target.name} was not written")
    for path in (target, target.with_suffix(".msw")):
        if path.exists():
            path.chmod(0o644)  # the converter makes its files read-only and its owner's alone
