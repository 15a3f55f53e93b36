"""Compiling a MindSpore cell to the message of its graph. Imports MindSpore: for child processes only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore.nn.utils import no_init_parameters

from skywork_rt.export.graph.mindir import model_class

__all__ = ["compile_cell"]


def compile_cell(make: Callable[[], Any], inputs: Sequence[Any]) -> Any:
    """The graph as MindSpore writes it, a ModelProto whose parameters have no data.

    `make` gives the cell; its parameters are declared only. `inputs` are tensors, or None for an absent argument.
    """
    with no_init_parameters():
        cell = make()
    captured: list[bytes] = []

    def take(model: Any) -> None:
        captured.append(model.SerializeToString())
        model.graph.ClearField("parameter")  # nothing to write: the weights never come here

    with tempfile.TemporaryDirectory() as scratch:
        ms.export(cell, *inputs, file_name=str(Path(scratch) / "unused"), file_format="MINDIR", custom_func=take)
    return model_class().FromString(captured[0])
