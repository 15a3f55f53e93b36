"""The MindSpore Lite graphs of a bundle: built in MindSpore, made legal for Lite 2.0, optimised and verified.

`build_graphs` is all that export calls. MindSpore is imported in a child process only.
"""

from __future__ import annotations

from skywork_rt.export.graph.build import build_graphs

__all__ = ["build_graphs"]
