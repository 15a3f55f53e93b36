"""The bundles that the reference device of tests/cpp/ascend is: model.json and context.cfg as the export writes them.

    python tests/python/ascend_export/reference_forms.py     writes tests/cpp/ascend/reference_forms again

So what the C++ tests feed to the device follows from the gears and caches that an export has, and not from a copy of
them. The graphs themselves are not there: the reference device takes their place.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.export.device_cache import FORMS, ROLES, DeviceForm, graph_entry
from skywork_rt.export.graph.ascend import AscendOptions, plan_form
from skywork_rt.export.graph.ascend.ge_config import context_cfg

FOLDER = Path(__file__).parents[2] / "cpp" / "ascend" / "reference_forms"
MODEL = with_changes(
    preset("tiny"),
    name="reference", layers=2, hidden_size=16, intermediate_size=32, heads=4, kv_heads=2, head_dim=4, vocab_size=101,
    max_length=64, tied_embeddings=False, bos_id=None, pad_id=0, eos_ids=(2,),
)  # fmt: skip
GEARS = ((1, 16), (1, 64), (4, 16))


def files() -> dict[str, str]:
    """Their text by their name: a model.json a form, and the context.cfg of each of its graphs."""
    found = {}
    for name in FORMS:
        plan = plan_form(AscendOptions(batch=4, gears=GEARS, form=name), MODEL)
        found[f"{name}.json"] = _manifest(plan)
        found |= {f"{name}-{role}.cfg": context_cfg(role, plan) for role in ROLES}
    return found


def _manifest(plan: DeviceForm) -> str:
    graphs = [dataclasses.asdict(graph_entry(plan, role, f"{role}.mindir")) for role in ROLES]
    body = {
        "format": "skywork_rt.bundle",
        "version": 3,
        "model": MODEL.to_json(),
        "files": {graph["file"]: {"role": "graph", "size": 0, "sha256": "0" * 64} for graph in graphs},
        "graphs": [{key: value for key, value in graph.items() if value is not None} for graph in graphs],
        "weights": {},
    }
    return json.dumps(body, indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
