"""A checkpoint's tokenizer as a bundle would give it, without the bundle."""

from __future__ import annotations

from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.recipe.prepare.tokenise import tokenizer_of
from skywork_rt.text.tokenizer import Tokenizer


def runtime_tokenizer(files: TokenizerFiles | None) -> Tokenizer:
    """Goes through what a bundle stores."""
    assert files is not None
    return tokenizer_of(files)
