"""Readers of checkpoints. `open_source` finds the right one."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.checkpoints.checkpoint import Checkpoint
from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError, InvalidArgumentError, UnsupportedError

__all__ = ["Checkpoint", "mindspore_file_of", "open_source"]

_GGUF = b"GGUF"
_MINDSPORE = (".ckpt", ".safetensors")


def open_source(
    path: Path, max_length: int | None = None, config: Path | None = None, tokenizer: Path | None = None
) -> Checkpoint:
    """Opens a GGUF file, a Hugging Face directory or a checkpoint of MindSpore and checks all but the weights' bytes.

    `max_length` lowers the length that the model was made for; None keeps it. A checkpoint of MindSpore (.ckpt, or
    .safetensors with MindFormers' names) has no configuration in it: `config` is a config.json or a MindFormers YAML,
    None the one beside it; `tokenizer` is a tokenizer.json or tokenizer.model or a directory with one, None the one
    beside it. Raises CheckpointError for a checkpoint that is damaged or incomplete, UnsupportedError for an
    architecture or a part that the runtime does not have, InvalidArgumentError for a `max_length` that the model was
    not made for, or for a `config` or `tokenizer` that would not be read.
    """
    path = mindspore_file_of(path)
    if path.is_file() and path.suffix in _MINDSPORE:
        return _open_mindspore(path, max_length, config, tokenizer)
    if config is not None or tokenizer is not None:
        raise InvalidArgumentError(
            f"{path.name} has its configuration and its tokenizer in it; config and tokenizer are for a checkpoint of "
            "MindSpore, a .ckpt or .safetensors file"
        )
    if path.is_dir():
        return _open_directory(path, max_length)
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; give a .gguf file, a directory with config.json, or a .ckpt of MindSpore"
        )
    return _open_file(path, max_length)


def mindspore_file_of(path: Path) -> Path:
    """The .ckpt in a directory that has one and no weights of Hugging Face; any other path as it is."""
    if not path.is_dir():
        return path
    checkpoints = list(path.glob("*.ckpt"))
    others = next((file for pattern in ("*.bin", "model*.safetensors") for file in path.glob(pattern)), None)
    return checkpoints[0] if len(checkpoints) == 1 and others is None else path


def _open_mindspore(path: Path, max_length: int | None, config: Path | None, tokenizer: Path | None) -> Checkpoint:
    from skywork_rt.checkpoints.huggingface.names import hugging_face_name
    from skywork_rt.checkpoints.mindspore.source import MindSporeSource, open_weight_file

    if path.suffix == ".safetensors" and hugging_face_name("embed_tokens") in open_weight_file(path).tensors:
        raise CheckpointError(
            f"{path.name} has Hugging Face's names: give the directory that it is in, with config.json beside it"
        )
    return MindSporeSource(path, max_length, config, tokenizer)


def _open_file(path: Path, max_length: int | None) -> Checkpoint:
    refuse_stand_in(path)
    with path.open("rb") as file:
        magic = file.read(len(_GGUF))
    if magic == _GGUF[::-1]:
        raise UnsupportedError(f"{path.name} is a GGUF file of another byte order; fetch the little-endian file")
    if magic != _GGUF:
        raise CheckpointError(
            f"{path.name} is no GGUF file (it begins with {magic!r}); of other files give the directory that "
            "holds them, of a checkpoint of MindSpore the .ckpt"
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
    checkpoints = sorted(path.glob("*.ckpt"))
    if checkpoints:
        names = ", ".join(file.name for file in checkpoints[:4])
        raise CheckpointError(f"{path.name} has {len(checkpoints)} checkpoints of MindSpore, {names}; give one of them")
    raise CheckpointError(
        f"{path.name} has no config.json: a Hugging Face directory has one beside its weights and tokenizer; give that "
        "directory, a .gguf file, or a .ckpt of MindSpore"
    )
