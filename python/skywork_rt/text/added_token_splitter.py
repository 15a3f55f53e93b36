"""Cuts text at the added tokens of a SentencePiece model, as transformers cuts it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skywork_rt.bundle.added_token import AddedToken, SpacePrefix

__all__ = ["AddedTokenSplitter", "TextPart"]

_SPACE = "\u2581"


@dataclass(frozen=True)
class TextPart:
    """Text between added tokens; `prefixed`: SentencePiece's space belongs in front of it."""

    text: str
    prefixed: bool


class AddedTokenSplitter:
    """The ``tokenizers`` library finds the tokens: its rules for their flags, and for normalised text, are the measure.

    `prefix` says which parts begin with SentencePiece's space. transformers puts it there in one of two ways, and what
    a token that is looked for in normalised text finds depends on it: legacy tokenizers normalise each part between
    other tokens to have it, others give it to a part that begins the text and does not begin with a space. Safe to use
    from several threads.
    """

    def __init__(self, added: Mapping[int, AddedToken], prefix: SpacePrefix) -> None:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        self._prefix = prefix
        self._catcher = _Catcher()
        self._native: Any = Tokenizer(models.WordLevel({"": 0}, unk_token=""))
        if prefix != "first":
            steps = [normalizers.Prepend(_SPACE)] if prefix == "always" else []
            self._native.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
        self._native.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(self._catcher)
        self._native.add_tokens([token.to_library() for token in added.values()])
        ids = {token.content: index for index, token in added.items()}
        self._ids = {self._native.token_to_id(content): index for content, index in ids.items()}

    def split(self, text: str) -> Iterator[int | TextPart]:
        """Ids of added tokens and the parts between them, in order."""
        self._native.encode(text, add_special_tokens=False)
        for index, (part, _, tokens) in enumerate(self._catcher.taken()):
            if tokens is not None:
                yield self._ids[tokens[0].id]
            else:
                yield self._part(part, index == 0)

    def _part(self, part: str, begins_text: bool) -> TextPart:
        if self._prefix == "first":
            return TextPart(part, begins_text and not part.startswith((" ", _SPACE)))
        prefixed = self._prefix == "always" and part.startswith(_SPACE)
        return TextPart(part.removeprefix(_SPACE if prefixed else "").replace(_SPACE, " "), prefixed)


class _Catcher:
    """Stands where a pre-tokenizer would, and keeps what it is given: text, and which of it is tokens already."""

    def __init__(self) -> None:
        self._local = threading.local()

    def pre_tokenize(self, text: Any) -> None:
        self._local.parts = text.get_splits()

    def taken(self) -> list[tuple[str, tuple[int, int], list[Any] | None]]:
        parts: list[tuple[str, tuple[int, int], list[Any] | None]] = self._local.parts
        self._local.parts = []
        return parts
