"""The graphs of MindFormers' device-cache contract, which Ascend runs through MindSpore Lite's provider ge.

The KV cache is a pair of Parameters a layer inside the graph; the full graph fills it with prompts, the incremental one
adds a token a row. `build_graphs` writes both, in the directories and under the names of MindFormers' own export;
docs/ascend-export.md says for whom. MindSpore is imported in a child process only.
"""

from __future__ import annotations

from skywork_rt.export.graph.ascend.build import build_graphs, check_memory, config_files, data_files, written_bytes
from skywork_rt.export.graph.ascend.options import AscendOptions, check_model, plan_form

__all__ = [
    "AscendOptions",
    "build_graphs",
    "check_memory",
    "check_model",
    "config_files",
    "data_files",
    "plan_form",
    "written_bytes",
]
