"""All pairs of graphs, built and run in one process of MindSpore for the whole session."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from device_pairs import PAIRS, Built, Pair, make_batch

from skywork_rt.export.graph.ascend.weights import device_weights, lay_out, write_data
from skywork_rt.export.graph.child import package_environment
from skywork_rt.support.stages import no_progress


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Built]:
    """Name of a pair to its graphs and answers. Skips where MindSpore is not installed."""
    if importlib.util.find_spec("mindspore") is None:
        pytest.skip("MindSpore is not installed (pip install 'skywork_rt[export]')")
    folder = tmp_path_factory.mktemp("device-graphs")
    batches = {name: make_batch(pair) for name, pair in PAIRS.items()}
    jobs = {name: _job(folder, name, pair) for name, pair in PAIRS.items()}
    for name in (name for name, job in jobs.items() if "feeds" in job):
        np.savez(
            jobs[name]["feeds"],
            **{f"{n}/{key}": value for n, call in enumerate(batches[name].calls) for key, value in call.items()},
        )
    request = folder / "request.json"
    request.write_text(json.dumps(list(jobs.values())))
    child = [sys.executable, str(Path(__file__).parent / "device_graph_child.py"), str(request)]
    subprocess.run(child, check=True, cwd=folder, env={**package_environment(), "GLOG_v": "3"})
    return {
        name: Built(
            pair,
            {role: Path(path) for role, path in jobs[name]["graphs"].items()},
            batches[name],
            dict(np.load(jobs[name]["out"])) if "out" in jobs[name] else None,
        )
        for name, pair in PAIRS.items()
    }


def _job(folder: Path, name: str, pair: Pair) -> dict[str, Any]:
    """Writes the weights, which the graphs share, and says what the child is to do."""
    config, form, place = pair.source.config, pair.form, folder / name
    place.mkdir()
    layout = lay_out(config, form)
    write_data(pair.source, device_weights(config, form), layout, place, no_progress)
    job: dict[str, Any] = {
        "config": config.to_json(),
        "form": form.to_json(),
        "places": {key: dataclasses.astuple(value) for key, value in layout.places.items()},
        "graphs": {role: str(place / f"{role}.mindir") for role in ("full", "incremental")},
    }
    if form.form == "assign":
        job |= {"feeds": str(place / "feeds.npz"), "out": str(place / "out.npz")}
    return job
