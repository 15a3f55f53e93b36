"""What every answer carries: its id, when and by which model it was made."""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass, field

import skywork_rt
from skywork_rt.server.models import Model

__all__ = ["Heading", "fingerprint"]


def fingerprint(model: Model) -> str:
    """Changes when the same request may give another answer: another version, model, or way to compute it."""
    options = model.generator.options
    parts = (skywork_rt.__version__, model.generator.model.name, options["weights"], options["activations"])
    return "fp_" + hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Heading:
    """The beginning of an answer, and of every event of a stream."""

    model: Model
    prefix: str
    """Of its id, such as cmpl."""
    object: str
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def new(cls, model: Model, prefix: str, kind: str) -> Heading:
        return cls(model, prefix, kind, f"{prefix}-{uuid.uuid4().hex}")

    def fields(self) -> dict[str, object]:
        return {
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": fingerprint(self.model),
        }
