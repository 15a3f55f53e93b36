"""The tokenizer of a checkpoint, of a file of its own, or of a GGUF file."""

from __future__ import annotations

from pathlib import Path

from skywork_rt.checkpoints.huggingface.json_file import read_text
from skywork_rt.checkpoints.huggingface.tokenizer import read_tokenizer
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.wrong_file import refuse_stand_in
from skywork_rt.errors import CheckpointError

__all__ = ["open_tokenizer_files"]

_LARGEST_MODEL = 256 << 20
_NAMES = ("tokenizer.json", "tokenizer.model")


def open_tokenizer_files(path: Path) -> TokenizerFiles:
    """The tokenizer at `path`: a directory that has one, tokenizer.json, a SentencePiece model, or a GGUF file.

    A file under its usual name is read with what lies beside it (tokenizer_config.json and the like), as its directory
    would be; under another name, alone. Raises CheckpointError when there is none or it is damaged, UnsupportedError
    for a kind that the runtime lacks.
    """
    if path.is_dir():
        found = read_tokenizer(path)
        if found is None:
            raise CheckpointError(f"{path} has no tokenizer: neither {' nor '.join(_NAMES)} is in it")
        return found
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give tokenizer.model, tokenizer.json or a directory with one")
    refuse_stand_in(path)
    beside = [name for name in _NAMES if (path.parent / name).exists()]
    if beside and beside[0] == path.name:  # what the directory itself would be read by
        found = read_tokenizer(path.parent)
        assert found is not None
        return found
    return _alone(path)


def _alone(path: Path) -> TokenizerFiles:
    with path.open("rb") as file:
        begin = file.read(16)
    if begin.startswith(b"GGUF"):
        from skywork_rt.checkpoints.open import open_source

        tokenizer = open_source(path).tokenizer()
        if tokenizer is None:
            raise CheckpointError(f"{path.name} has no tokenizer")
        return tokenizer
    if begin.lstrip().startswith(b"{"):
        from skywork_rt.checkpoints.tokenizers.tokenizer_json import tokenizer_json_files

        return tokenizer_json_files(read_text(path), where=path.name)
    from skywork_rt.checkpoints.tokenizers.sentencepiece_model import sentencepiece_files

    size = path.stat().st_size
    if size > _LARGEST_MODEL:
        raise CheckpointError(f"{path.name} has {size} bytes; a tokenizer of more than {_LARGEST_MODEL} is none")
    return sentencepiece_files(path.read_bytes(), where=path.name)
