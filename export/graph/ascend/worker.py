"""The child process that holds MindSpore: `python -m skywork_rt.export.graph.ascend.worker < request.json`.

The request names model, form, the graphs to make and the place of every Parameter; the answer is one graph file each.
One line a finished graph goes to standard output.
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
from skywork_rt.export.device_cache import DeviceForm, Role
from skywork_rt.export.graph.ascend.contract import inputs
from skywork_rt.export.graph.ascend.legalise import legalise_device
from skywork_rt.export.graph.ascend.llama import DeviceLlama
from skywork_rt.export.graph.compile import compile_cell
from skywork_rt.export.graph.mindir import save_model

_ARGUMENTS = ("tokens", "batch_valid_length", "batch_index", "zactivate_len", "block_tables", "slot_mapping")


def build(config: ModelConfig, form: DeviceForm, role: Role, places: dict[str, Any]) -> Any:
    """The ModelProto of one graph, whose Parameters are named as MindFormers' and lie at `places`."""
    specs = {spec.name: spec for spec in inputs(role, form)}
    arguments: list[Any] = []
    for name in _ARGUMENTS:
        spec = specs.get(name)
        if spec is None:
            arguments.append(None)
        elif form.dynamic(role):
            arguments.append(ms.Tensor(shape=list(spec.open_shape()), dtype=getattr(ms, np.dtype(spec.dtype).name)))
        else:
            arguments.append(ms.Tensor(np.ones(spec.at((form.rows, form.positions)), spec.dtype)))
    model = compile_cell(lambda: DeviceLlama(config, form, role), arguments)
    legalise_device(model, [spec.name for spec in specs.values()])
    _attach(model, places)
    return model


def _attach(model: Any, places: dict[str, Any]) -> None:
    missing = set(places)
    for parameter in model.graph.parameter:
        if parameter.name not in places:
            raise InternalError(f"the graph has a Parameter {parameter.name} that nothing is made for")
        missing.discard(parameter.name)
        parameter.ClearField("raw_data")
        place = parameter.external_data
        place.location, place.offset, place.length = places[parameter.name]
    if missing:
        raise InternalError(f"the graph has no Parameter {sorted(missing)[0]} ({len(missing)} missing in all)")


def main() -> int:
    """Answers the request on standard input."""
    request = json.load(sys.stdin)
    config, form = ModelConfig.from_json(request["config"]), DeviceForm.from_json(request["form"])
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device("CPU")
    for role, path in request["graphs"].items():
        save_model(build(config, form, role, request["places"]), Path(path))
        print(role, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
