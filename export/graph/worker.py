"""The child process that holds MindSpore: `python -m skywork_rt.export.graph.worker < request.json`.

The request names the model, the graphs to make and the place of every parameter in the data file; the answer is one
legalised graph file each, with weights beside them. One line a finished graph goes to standard output. MindSpore and
Lite cannot share a process, and whatever happens to this one is an error message in the other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.errors import InternalError
from skywork_rt.export.graph import llama
from skywork_rt.export.graph.compile import compile_cell
from skywork_rt.export.graph.contract import FULL, INCREMENTAL, Contract, Sizes, input_specs
from skywork_rt.export.graph.legalise import legalise
from skywork_rt.export.graph.mindir import save_model

# Concrete sizes that the graph is compiled with; Resize changes them. All differ, so that no dimension is taken for
# another, and none is 1 where the contract allows more, so that nothing is folded away.
_COMPILED = {
    FULL: Sizes(rows=1, new=6, cached=10, wanted=3),
    INCREMENTAL: Sizes(rows=2, new=1, cached=10),
}
_CELLS = {FULL: llama.FullLlama, INCREMENTAL: llama.IncrementalLlama}


def _compile(config: ModelConfig, contract: Contract) -> Any:
    """The graph as MindSpore writes it, a ModelProto whose parameters have no data."""
    inputs = [
        ms.Tensor(np.zeros(spec.shape, spec.dtype)) for spec in input_specs(contract, config, _COMPILED[contract])
    ]
    return compile_cell(lambda: _CELLS[contract](config), inputs)


def _attach_weights(model: Any, location: str, places: dict[str, list[int]]) -> None:
    """Points every parameter at its place in the data file."""
    missing = set(places)
    for parameter in model.graph.parameter:
        name = parameter.name.partition(":")[2]
        if name not in places:
            raise InternalError(f"the graph has a parameter {name} that no weight is made for")
        missing.discard(name)
        offset, length = places[name]
        parameter.ClearField("raw_data")
        parameter.external_data.location = location
        parameter.external_data.offset = offset
        parameter.external_data.length = length
    if missing:
        raise InternalError(f"the graph has no parameter {sorted(missing)[0]} ({len(missing)} missing in all)")


def main() -> int:
    """Answers the request on standard input."""
    request = json.load(sys.stdin)
    config = ModelConfig.from_json(request["config"])
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device("CPU")
    for graph in request["graphs"]:
        contract: Contract = graph["contract"]
        model = _compile(config, contract)
        names = [spec.name for spec in input_specs(contract, config, _COMPILED[contract])]
        legalise(model, names)
        _attach_weights(model, request["location"], request["places"])
        save_model(model, Path(graph["path"]))
        print(contract, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
