"""Readers of checkpoints. `open_source` finds the right one."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.checkpoints.checkpoint import Checkpoint
from skywork_rt.errors import CheckpointError

__all__ = ["Checkpoint", "open_source"]


def open_source(path: Path, max_length: int | None = None) -> Checkpoint:
    """Opens a GGUF file or a Hugging Face directory and checks all but the weights' own bytes.

    `max_length` lowers the length that the model was made for; None keeps it. Raises CheckpointError for a checkpoint
    that is damaged or incomplete, UnsupportedError for an architecture or a part that the runtime does not have,
    InvalidArgumentError for a `max_length` that the model was not made for.
    """
    if path.is_dir():
        from skywork_rt.checkpoints.huggingface.source import HuggingFaceSource

        return HuggingFaceSource(path, max_length)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a .gguf file or a directory with config.json")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise CheckpointError(f"{path.name} is no GGUF file (it begins with {magic!r}) and no directory")
    from skywork_rt.checkpoints.gguf.source import GgufSource

    return GgufSource(path, max_length)
