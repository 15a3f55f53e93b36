"""What every answer, and every event of a stream, begins with: its id, when and by which model it was made."""

from __future__ import annotations

import hashlib
import time
import uuid
from typing import Any

import skywork_rt
from skywork_rt.server.models import Model

__all__ = ["fingerprint", "heading"]


def fingerprint(model: Model) -> str:
    """Changes when the same request may give another answer: another version, model, or way to compute it."""
    options = model.generator.options
    parts = (skywork_rt.__version__, model.generator.model.name, options["weights"], options["activations"])
    return "fp_" + hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def heading(model: Model, prefix: str, kind: str) -> dict[str, Any]:
    """`prefix` begins the id, such as cmpl; `kind` is the name of the object."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model.name,
        "system_fingerprint": fingerprint(model),
    }
