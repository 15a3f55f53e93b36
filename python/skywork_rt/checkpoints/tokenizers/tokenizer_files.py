"""The tokenizer of a checkpoint, in the form in which a bundle keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from skywork_rt.bundle.added_token import AddedToken, SpacePrefix

__all__ = ["SpecialTokens", "TokenizerFiles", "TokenizerKind", "VocabularyEntry"]

TokenizerKind = Literal["tokenizers", "sentencepiece"]

SpecialTokens = Mapping[str, str | Sequence[str]]
"""transformers' special_tokens_map: "bos_token" and so on to the token's text; additional_special_tokens is a list."""


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

    `prefix_ids` and `suffix_ids` stand before and after a prompt's own ids. `added` (ids to tokens, which are found
    whole in text) and `space_prefix` are for tokenizer.model; tokenizer.json says both itself.
    """

    kind: TokenizerKind
    content: bytes
    entries: Sequence[VocabularyEntry]
    byte_level: bool
    prefix_ids: tuple[int, ...] = ()
    suffix_ids: tuple[int, ...] = ()
    strip_first_space: bool = False
    strip_leading_spaces: bool = False
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    special_tokens: SpecialTokens = field(default_factory=dict)
    added: Mapping[int, AddedToken] = field(default_factory=dict)
    space_prefix: SpacePrefix = "always"
    bos_id: int | None = None
    pad_id: int | None = None
    eos_ids: tuple[int, ...] = ()

    @property
    def file(self) -> str:
        """The file's name in the bundle."""
        return "tokenizer.json" if self.kind == "tokenizers" else "tokenizer.model"

    @property
    def chat_template(self) -> str | None:
        """The template that is used unless another one is asked for."""
        return self.chat_templates.get("default")
