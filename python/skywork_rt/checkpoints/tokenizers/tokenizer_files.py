"""The tokenizer of a checkpoint, in the form in which a bundle keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["TokenizerFiles", "TokenizerKind", "VocabularyEntry"]

TokenizerKind = Literal["tokenizers", "sentencepiece"]


@dataclass(frozen=True)
class VocabularyEntry:
    """What one id stands for: its bytes in decoded text, and its flags as vocab.bin has them."""

    text: bytes
    special: bool = False
    byte: bool = False
    unused: bool = False


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer as the bundle stores it.

    `content` is the whole of tokenizer.json or tokenizer.model; `entries` has one item an id, from 0 to the tokenizer's
    last id (vocab.bin pads to the model's vocabulary). `strip_first_space` is SentencePiece's dummy prefix: the first
    text of a decode loses one leading space. `strip_leading_spaces`: with remove_extra_whitespaces every
    piece loses one while there is no text. `byte_level` tells the kinds of vocab.bin apart (a tokenizer.json can
    hold either).
    """

    kind: TokenizerKind
    content: bytes
    entries: Sequence[VocabularyEntry]
    byte_level: bool
    add_bos: bool = False
    strip_first_space: bool = False
    strip_leading_spaces: bool = False
    chat_template: str | None = None
    bos_id: int | None = None
    pad_id: int | None = None
    eos_ids: tuple[int, ...] = ()

    @property
    def file(self) -> str:
        """The file's name in the bundle."""
        return "tokenizer.json" if self.kind == "tokenizers" else "tokenizer.model"
