"""Importing MindSpore into this process, which has to come to terms with protobuf.

The messages of MindSpore 2.7.2 load on protobuf's implementation in Python alone. MindSpore chooses it when nothing has
imported protobuf before, and otherwise fails half way, which it does not survive. So whatever of ours imports protobuf
calls `choose_protobuf` first, and whatever imports MindSpore goes through `import_mindspore`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

from skywork_rt.errors import BackendUnavailableError

__all__ = ["choose_protobuf", "import_mindspore"]

_VARIABLE = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"


def choose_protobuf() -> None:
    """Call before importing protobuf: where MindSpore is installed, its choice is made for it.

    Parsing a SentencePiece model of 32000 pieces then takes 0.2 s instead of 3 ms.
    """
    if "google.protobuf" not in sys.modules and importlib.util.find_spec("mindspore") is not None:
        os.environ.setdefault(_VARIABLE, "python")


def import_mindspore(purpose: str, extra: str, module: str = "mindspore") -> Any:
    """MindSpore, or the module of it (or of MindFormers) that is named.

    `purpose` says what needs it, such as "training"; `extra` is the extra of this package that brings it. Raises
    BackendUnavailableError, which says what to do, when it is not installed or cannot be imported any more.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise BackendUnavailableError(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed: pip install 'skywork-rt[{extra}]'"
        )
    if "mindspore" not in sys.modules:
        choose_protobuf()
        _refuse_other_protobuf(purpose)
    return importlib.import_module(module)


def _refuse_other_protobuf(purpose: str) -> None:
    from google.protobuf.internal import api_implementation  # type: ignore[import-untyped, unused-ignore]

    found = api_implementation.Type()
    if found != "python":
        raise BackendUnavailableError(
            f"{purpose} needs MindSpore, which cannot be imported any more: this process has loaded protobuf's "
            f"implementation {found!r}, and MindSpore needs the one in Python. Import mindspore before whatever "
            f"imports protobuf, or set {_VARIABLE}=python"
        )
