"""MindSpore's MindIR protobuf messages, without importing MindSpore.

The generated module inside the mindspore package holds the messages' description, and runs under the slowest of
protobuf's implementations only. We read the description and make classes of our own from it: that works with any
protobuf, and keeps MindSpore's libraries, and their collision with Lite's, out of whoever rewrites a graph.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path
from typing import Any

from skywork_rt.errors import UnsupportedError
from skywork_rt.support.mindspore_import import choose_protobuf

__all__ = ["INSTALL_HINT", "load_model", "model_class", "require_mindspore", "save_model"]

INSTALL_HINT = "pip install 'skywork_rt[export]'"


def require_mindspore() -> Path:
    """The folder of the installed mindspore package. Raises UnsupportedError, naming the pip command, without one."""
    spec = importlib.util.find_spec("mindspore")
    if spec is None or spec.origin is None:
        raise UnsupportedError(f"exporting a Lite graph needs MindSpore, which is not installed: {INSTALL_HINT}")
    return Path(spec.origin).parent


@functools.cache
def model_class() -> Any:
    """The message class ModelProto; its parts are reached through its fields."""
    choose_protobuf()
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    path = require_mindspore() / "train" / "mind_ir_pb2.py"
    if not path.exists():
        raise UnsupportedError(f"the installed MindSpore does not describe MindIR (mindspore/train/{path.name})")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    literals = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    description = max((literal for literal in literals if isinstance(literal, bytes)), key=len)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(description))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("mind_ir.ModelProto"))


def load_model(path: Path) -> Any:
    """The ModelProto in a .mindir file."""
    return model_class().FromString(path.read_bytes())


def save_model(model: Any, path: Path) -> None:
    """Writes a ModelProto; equal models give equal bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))
