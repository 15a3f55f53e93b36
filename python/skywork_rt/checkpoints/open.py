"""Readers of checkpoints. `open_source` finds the right one."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.checkpoints.checkpoint import Checkpoint
from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["Checkpoint", "open_source"]

_GGUF = b"GGUF"


def open_source(path: Path, max_length: int | None = None) -> Checkpoint:
    """Opens a GGUF file or a Hugging Face directory and checks all but the weights' own bytes.

    `max_length` lowers the length that the model was made for; None keeps it. Raises CheckpointError for a checkpoint
    that is damaged or incomplete, UnsupportedError for an architecture or a part that the runtime does not have,
    InvalidArgumentError for a `max_length` that the model was not made for.
    """
    if path.is_dir():
        return _open_directory(path, max_length)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a .gguf file or a directory with config.json")
    return _open_file(path, max_length)


def _open_file(path: Path, max_length: int | None) -> Checkpoint:
    refuse_stand_in(path)
    with path.open("rb") as file:
        magic = file.read(len(_GGUF))
    if magic == _GGUF[::-1]:
        raise UnsupportedError(f"{path.name} is a GGUF file of another byte order; fetch the little-endian file")
    if magic != _GGUF:
        raise CheckpointError(
            f"{path.name} is no GGUF file (it begins with {magic!r}); of other files give the directory that holds them"
        )
    from skywork_rt.checkpoints.gguf.source import GgufSource

    return GgufSource(path, max_length)


def _open_directory(path: Path, max_length: int | None) -> Checkpoint:
    """config.json makes a Hugging Face directory of it; else the one GGUF model that is in it."""
    if (path / "config.json").exists():
        from skywork_rt.checkpoints.huggingface.source import HuggingFaceSource

        return HuggingFaceSource(path, max_length)
    from skywork_rt.checkpoints.gguf.split_file import gguf_in_directory

    model = gguf_in_directory(path)
    if model is not None:
        return _open_file(model, max_length)
    raise CheckpointError(
        f"{path.name} has no config.json: a Hugging Face directory has one beside its weights and tokenizer; give that "
        "directory, or a .gguf file"
    )
