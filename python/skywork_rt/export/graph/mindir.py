"""MindSpore's MindIR protobuf messages, without importing MindSpore.

The generated module inside the mindspore package needs nothing but protobuf; loading it by its file keeps MindSpore's
300 MB of libraries, and their collision with Lite's, out of whoever reads or rewrites a graph.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from skywork_rt.errors import UnsupportedError

__all__ = ["INSTALL_HINT", "load_model", "messages", "require_mindspore", "save_model"]

INSTALL_HINT = "pip install 'skywork_rt[export]'"

_MODULE = "mindspore.train.mind_ir_pb2"


def require_mindspore() -> Path:
    """The folder of the installed mindspore package. Raises UnsupportedError, naming the pip command, without one."""
    spec = importlib.util.find_spec("mindspore")
    if spec is None or spec.origin is None:
        raise UnsupportedError(f"exporting a Lite graph needs MindSpore, which is not installed: {INSTALL_HINT}")
    return Path(spec.origin).parent


@functools.cache
def messages() -> ModuleType:
    """The module of MindIR messages (ModelProto and its parts)."""
    if _MODULE in sys.modules:  # in the worker, which has MindSpore: one registration in protobuf's pool is enough
        return sys.modules[_MODULE]
    path = require_mindspore() / "train" / "mind_ir_pb2.py"
    spec = importlib.util.spec_from_file_location("skywork_rt.export.graph._mind_ir_pb2", path)
    if spec is None or spec.loader is None or not path.exists():
        raise UnsupportedError(f"the installed MindSpore has no MindIR messages (mindspore/train/{path.name})")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_model(path: Path) -> Any:
    """The ModelProto in a .mindir file."""
    model = messages().ModelProto()
    model.ParseFromString(path.read_bytes())
    return model


def save_model(model: Any, path: Path) -> None:
    """Writes a ModelProto; equal models give equal bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))
