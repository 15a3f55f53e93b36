"""SmolLM2 in float16, exported by the command, gives transformers' greedy ids on MindSpore's CPU backend."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden import SmolGolden
from skywork_rt.checkpoints.samples import smollm2
from skywork_rt.export.device_cache import DeviceForm
from skywork_rt.export.graph.ascend.feeds import prompt_feeds, step_feeds
from skywork_rt.export.graph.ascend.options import AscendOptions, plan_form
from skywork_rt.export.graph.child import package_environment

pytestmark = [pytest.mark.long, pytest.mark.slow]

LENGTH = 64
TOLERANCE = 2e-2


def test_greedy_ids_of_two_prompts_in_one_batch_are_transformers(tmp_path: Path) -> None:
    pytest.importorskip("mindspore")
    out = tmp_path / "smollm2"
    command = [sys.executable, "-m", "skywork_rt", "export", str(smollm2()), str(out), "--for", "ascend"]
    subprocess.run([*command, "--batch", "2", "--seq-length", str(LENGTH)], check=True)
    golden = SmolGolden.load()
    prompts = [golden.prompts[name] for name in ("design", "one-word")]
    calls = _calls(_form(out), [p.ids for p in prompts], [p.greedy for p in prompts])
    logits = _run(tmp_path, out, calls)
    ties = 0
    for step in range(len(calls)):
        rows = logits[f"{step}/logits"].reshape(2, -1)
        for prompt, row in zip(prompts, rows, strict=True):
            if row.argmax() != prompt.greedy[step]:
                assert prompt.margins[step] <= 2 * TOLERANCE * np.ptp(row), (prompt.name, step)
                ties += 1
    assert ties <= 4
    for row, prompt in enumerate(prompts):
        at = golden.positions(prompt.name).index(len(prompt.ids) - 1)
        difference = np.abs(
            logits["0/logits"][row][golden.arrays["columns"]] - golden.arrays[f"{prompt.name}/logits"][at]
        )
        assert difference.max() <= TOLERANCE * golden.arrays[f"{prompt.name}/range"][at]


def _form(bundle: Path) -> DeviceForm:
    from skywork_rt.checkpoints.model import ModelConfig

    body = json.loads((bundle / "model.json").read_text())
    return plan_form(AscendOptions(batch=2, seq_length=LENGTH), ModelConfig.from_json(body["model"]))


def _calls(form: DeviceForm, prompts: list[list[int]], greedy: list[list[int]]) -> list[Any]:
    gear = (2, LENGTH)
    calls = [prompt_feeds(form, prompts, gear)]
    for step in range(len(greedy[0]) - 1):
        lengths = [len(prompt) + step + 1 for prompt in prompts]
        calls.append(step_feeds(form, [ids[step] for ids in greedy], lengths, gear))
    return calls


def _run(folder: Path, bundle: Path, calls: list[Any]) -> Any:
    np.savez(
        folder / "feeds.npz", **{f"{n}/{key}": value for n, call in enumerate(calls) for key, value in call.items()}
    )
    graphs = {
        role: str(bundle / f"mindir_{short}_checkpoint" / "rank_0_graph.mindir")
        for role, short in (("full", "full"), ("incremental", "inc"))
    }
    job = {"graphs": graphs, "feeds": str(folder / "feeds.npz"), "out": str(folder / "out.npz")}
    (folder / "request.json").write_text(json.dumps([job]))
    child = [sys.executable, str(Path(__file__).parent / "device_graph_child.py"), str(folder / "request.json")]
    subprocess.run(child, check=True, cwd=folder, env={**package_environment(), "GLOG_v": "3"})
    return np.load(folder / "out.npz")
