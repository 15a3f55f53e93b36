"""The exporter's cells with weights in them, compiled and run by MindSpore. The only module here that imports it."""

from __future__ import annotations

import threading
from typing import Any

import mindspore as ms
import numpy as np
from mindspore.nn.utils import no_init_parameters
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import Float32Array
from skywork_rt.errors import BackendUnavailableError
from skywork_rt.export.graph import llama
from skywork_rt.export.graph.contract import FULL, INCREMENTAL, Contract
from skywork_rt.export.graph.weights import graph_weights
from skywork_rt.mindspore_backend.parameters import Parameters

__all__ = ["Cells"]

# Graphs of several models may be asked for at once, each by the thread of its engine; MindSpore compiles and runs one.
_TURN = threading.Lock()


class Cells:
    """The full graph and, unless `full_only`, the incremental one. Both share one copy of the weights.

    They run as jit graphs: the mode of the program that MindSpore is used in (PyNative or graph) stays what it is. A
    shape is compiled at its first call, which takes seconds. Raises BackendUnavailableError for a device that this
    MindSpore does not have.
    """

    def __init__(self, parameters: Parameters, *, device: str = "cpu", full_only: bool = False) -> None:
        self._choose_device(device)
        cells: dict[Contract, Any] = {}
        with _TURN, no_init_parameters():
            cells[FULL] = llama.FullLlama(parameters.config)
            if not full_only:
                cells[INCREMENTAL] = llama.IncrementalLlama(parameters.config)
        declared = [{item.name: item for item in cell.get_parameters()} for cell in cells.values()]
        for weight in graph_weights(parameters.config):
            values = np.array(parameters.parameter(weight), np.float32, order="C")
            shared = ms.Tensor.from_numpy(values)
            for items in declared:
                items[weight.name].set_data(shared)
        self._run = {contract: ms.jit(cell.set_train(False)) for contract, cell in cells.items()}

    def run(self, contract: Contract, inputs: list[NDArray[Any]]) -> list[Float32Array]:
        """The outputs of one call, in the contract's order. Inputs are read in place."""
        with _TURN:
            outputs = self._run[contract](*map(ms.Tensor.from_numpy, inputs))
            return [output.asnumpy() for output in outputs]

    @staticmethod
    def _choose_device(device: str) -> None:
        name = "CPU" if device in ("auto", "cpu") else device
        try:
            ms.set_device(name)
        except (RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise BackendUnavailableError(
                f"the installed MindSpore {ms.__version__} does not compute on the device {device!r}: {said}"
            ) from error
