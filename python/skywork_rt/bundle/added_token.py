"""Tokens that a tokenizer has beside its model's vocabulary, and what their flags mean."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["AddedToken", "SpacePrefix"]

SpacePrefix = Literal["always", "first", "never"]
"""Which parts of a text between added tokens begin with SentencePiece's space: each, that at the text's beginning, or
none. In transformers: `legacy` true, false, and `add_prefix_space` false."""


@dataclass(frozen=True)
class AddedToken:
    """A token that is found whole in text, before the tokenizer's model sees it.

    Fields are those of the ``tokenizers`` library's AddedToken. special: left out of decoded text when special tokens
    are skipped. lstrip, rstrip: takes the spaces beside it. normalized: looked for in the normalised text instead of
    the text as it is. single_word: not found inside a word.
    """

    content: str
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    single_word: bool = False

    def to_json(self) -> dict[str, Any]:
        """As model.json of a bundle keeps it, without flags that are off."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not False}

    def to_library(self) -> Any:
        """The library's own object."""
        import tokenizers

        return tokenizers.AddedToken(**dataclasses.asdict(self))
