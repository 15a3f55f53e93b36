"""How single tokens are shown: as text, and as the bytes that they stand for."""

from __future__ import annotations

from functools import lru_cache

from skywork_rt.api.generator import Generator

__all__ = ["TokenTexts"]


class TokenTexts:
    """The tokens of a model as its answers show them."""

    def __init__(self, generator: Generator) -> None:
        self._tokenizer = generator.tokenizer
        self._size = generator.model.vocab_size
        self.text = lru_cache(maxsize=1 << 16)(self._text)

    def bytes(self, token_id: int) -> bytes:
        """What the token stands for; empty where the bundle has no vocabulary."""
        if self._tokenizer is None or not 0 <= token_id < self._size:
            return b""
        return self._tokenizer.token_bytes(token_id)

    def _text(self, token_id: int) -> str:
        """Its text; bytes that are no whole character are U+FFFD, and a token without a text is shown by its id."""
        if self._tokenizer is None:
            return f"token_id:{token_id}"
        return self.bytes(token_id).decode("utf-8", "replace")
