"""The MindSpore Lite graphs of a bundle: built in MindSpore, made legal for Lite 2.0, optimised and verified.

`build_graphs` does all of it; the others tell beforehand what would stop it. MindSpore is imported in a child process
only.
"""

from __future__ import annotations

from skywork_rt.export.graph.build import build_graphs, check_graph_format, check_memory, graph_bytes
from skywork_rt.export.graph.mindir import require_mindspore
from skywork_rt.export.graph.tools import require_programs

__all__ = ["build_graphs", "check_graph_format", "check_memory", "graph_bytes", "require_mindspore", "require_programs"]
