"""What the recipe's scripts take from MindSpore: `context.set_context`, and `set_seed`. MindSpore is not imported."""

from __future__ import annotations

from skywork_rt.compat.mindspore import context
from skywork_rt.compat.mindspore.context import get_context, set_context
from skywork_rt.compat.mindspore.seeds import get_seed, set_seed

GRAPH_MODE, PYNATIVE_MODE = context.GRAPH_MODE, context.PYNATIVE_MODE

__all__ = ["GRAPH_MODE", "PYNATIVE_MODE", "context", "get_context", "get_seed", "set_context", "set_seed"]
