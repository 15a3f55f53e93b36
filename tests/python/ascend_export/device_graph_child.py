"""MindSpore in a process of its own: `device_graph_child.py REQUEST.json`.

Builds graphs of random models by the exporter's own worker, then loads the pairs that are to be run, with
`mindspore.load`, and runs prompts and steps on MindSpore's CPU backend, the cache handed from one graph to the other as
`ModelGroup` does it. One process, because MindSpore takes seconds to import.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def _tensors(feeds: Any) -> list[Any]:
    import mindspore as ms

    order = ("tokens", "batch_valid_length", "batch_index", "zactivate_len")
    return [ms.Tensor(feeds[name]) for name in order]


def build(job: dict[str, Any]) -> None:
    from skywork_rt.checkpoints.model import ModelConfig
    from skywork_rt.export.device_cache import DeviceForm
    from skywork_rt.export.graph.ascend import worker
    from skywork_rt.export.graph.mindir import save_model

    config, form = ModelConfig.from_json(job["config"]), DeviceForm.from_json(job["form"])
    for role, path in job["graphs"].items():
        save_model(worker.build(config, form, role, job["places"]), Path(path))


def run(job: dict[str, Any]) -> None:
    """Every batch in `calls` is a call of the full graph and steps of the incremental one; logits go to `out`."""
    import mindspore as ms
    from mindspore import nn

    full, incremental = (nn.GraphCell(ms.load(job["graphs"][role])) for role in ("full", "incremental"))
    caches = {p.name: p for p in full.get_parameters() if ".kvcache_mgr." in p.name}
    given = np.load(job["feeds"])
    calls = sorted({int(key.split("/")[0]) for key in given.files})
    outputs: dict[str, Any] = {}
    for call in calls:
        feeds = {key.split("/")[1]: given[key] for key in given.files if key.split("/")[0] == str(call)}
        prompt = feeds["tokens"].shape[1] > 1
        logits, tokens, mask = (full if prompt else incremental)(*_tensors(feeds))
        if prompt:
            for parameter in incremental.get_parameters():
                if parameter.name in caches:
                    parameter.set_data(caches[parameter.name])
        outputs |= {f"{call}/logits": logits.asnumpy()}
        outputs |= {f"{call}/tokens": tokens.asnumpy(), f"{call}/mask": mask.asnumpy()}
    for name, parameter in caches.items():
        outputs[f"cache/{name}"] = parameter.asnumpy()
    np.savez(job["out"], **outputs)


def main(path: Path) -> None:
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device("CPU")
    for job in json.loads(path.read_text()):
        if "config" in job:
            build(job)
        if "feeds" in job:
            run(job)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
