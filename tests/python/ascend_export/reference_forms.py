"""The bundles that the reference device of tests/cpp/ascend is: their model.json as the export for Ascend writes it.

    python tests/python/ascend_export/reference_forms.py     writes tests/cpp/ascend/reference_forms again

So what the C++ tests feed to the device follows from the gears and caches that an export has, and not from a copy of
them. The graphs themselves are not there: the reference device takes their place.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from skywork_rt.checkpoints.synthetic.presets import preset, with_changes
from skywork_rt.export.device_cache import FORMS, ROLES, Form, graph_entry
from skywork_rt.export.graph.ascend import AscendOptions, plan_form

FOLDER = Path(__file__).parents[2] / "cpp" / "ascend" / "reference_forms"
MODEL = with_changes(
    preset("tiny"),
    name="reference", layers=2, hidden_size=16, intermediate_size=32, heads=4, kv_heads=2, head_dim=4, vocab_size=101,
    max_length=64, tied_embeddings=False, bos_id=None, pad_id=0, eos_ids=(2,),
)  # fmt: skip
GEARS = ((1, 16), (1, 64), (4, 16))


def text_of(form: Form) -> str:
    """model.json of the bundle with graphs of that form."""
    plan = plan_form(AscendOptions(batch=4, gears=GEARS, form=form), MODEL)
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
    for name in FORMS:
        (FOLDER / f"{name}.json").write_text(text_of(name), encoding="utf-8")
