"""A checkpoint's tokenizer as a bundle would give it, without the bundle."""

from __future__ import annotations

import tempfile
from pathlib import Path

from skywork_rt._core import Vocabulary
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.tokenizers.vocabulary import encode_vocabulary
from skywork_rt.export.bundle_writer import tokenizer_section
from skywork_rt.text.tokenizer import Tokenizer, make_tokenizer


def runtime_tokenizer(files: TokenizerFiles | None) -> Tokenizer:
    """Goes through what a bundle stores."""
    assert files is not None
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vocab.bin"
        path.write_bytes(encode_vocabulary(files, max(1, len(files.entries))))
        return make_tokenizer(tokenizer_section(files, {}), files.content, Vocabulary(str(path)), files.bos_id)
