"""Text to ids and back: byte-level BPE through `tokenizers`, SentencePiece through `sentencepiece`.

Both libraries are imported when a tokenizer is first needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from skywork_rt.bundle.info import BundleInfo
from skywork_rt.errors import CorruptBundleError, InvalidArgumentError, UnsupportedError

__all__ = ["Tokenizer", "load_tokenizer"]


class Tokenizer(Protocol):
    """What both kinds can do."""

    @property
    def kind(self) -> str:
        """ "tokenizers" or "sentencepiece"."""
        ...

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str, *, add_special_tokens: bool | None = None) -> list[int]:
        """Ids of `text`; special tokens written in it (`<|im_start|>`) become their ids.

        add_special_tokens: begin with the bos id; None: as the model's own configuration says.
        """
        ...

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of `ids`. Bytes that form no character become U+FFFD."""
        ...

    def token(self, token_id: int) -> str:
        """How the vocabulary writes one id."""
        ...


class _Base:
    def __init__(self, bos_id: int | None, add_bos: bool) -> None:
        self._bos_id = bos_id
        self._add_bos = add_bos

    def _prefix(self, add_special_tokens: bool | None) -> list[int]:
        wanted = self._add_bos if add_special_tokens is None else add_special_tokens
        return [self._bos_id] if wanted and self._bos_id is not None else []


class BytePairTokenizer(_Base):
    """tokenizer.json, by Hugging Face's `tokenizers`."""

    kind = "tokenizers"

    def __init__(self, data: bytes, bos_id: int | None, add_bos: bool) -> None:
        super().__init__(bos_id, add_bos)
        from tokenizers import Tokenizer as Native

        try:
            self._native: Any = Native.from_buffer(data)
        except Exception as error:  # the library raises plain Exception
            raise CorruptBundleError(f"tokenizer.json does not load: {error}") from error
        self._native.no_padding()
        self._native.no_truncation()

    @property
    def vocab_size(self) -> int:
        return int(self._native.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str, *, add_special_tokens: bool | None = None) -> list[int]:
        _refuse_surrogates(text)
        # What the file's post-processor would add is left out: bos is added here, by one rule for both kinds.
        ids: list[int] = self._native.encode(text, add_special_tokens=False).ids
        return self._prefix(add_special_tokens) + ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return str(self._native.decode(_checked(ids, self.vocab_size), skip_special_tokens=skip_special_tokens))

    def token(self, token_id: int) -> str:
        return str(self._native.id_to_token(token_id) or "")


class SentencePieceTokenizer(_Base):
    """tokenizer.model, by Google's `sentencepiece`."""

    kind = "sentencepiece"

    def __init__(self, data: bytes, bos_id: int | None, add_bos: bool) -> None:
        super().__init__(bos_id, add_bos)
        import sentencepiece

        try:
            self._native: Any = sentencepiece.SentencePieceProcessor(model_proto=data)
            size = int(self._native.vocab_size())
        except Exception as error:  # the library raises RuntimeError or TypeError
            raise CorruptBundleError(f"tokenizer.model does not load: {error}") from error
        self._size = size
        self._special = {i for i in range(size) if self._native.is_control(i) or self._native.is_unknown(i)}
        self._anchor = self._find_anchor()
        controls = [self._native.id_to_piece(i) for i in range(size) if self._native.is_control(i)]
        longest_first = sorted(controls, key=len, reverse=True)
        self._splitter = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if controls else None

    @property
    def vocab_size(self) -> int:
        return self._size

    def encode(self, text: str, *, add_special_tokens: bool | None = None) -> list[int]:
        _refuse_surrogates(text)
        ids = self._prefix(add_special_tokens)
        if self._splitter is None:
            return ids + list(self._native.encode(text))
        for i, part in enumerate(self._splitter.split(text)):
            if i % 2 == 1:  # a control piece, which sentencepiece itself would spell out
                ids.append(int(self._native.piece_to_id(part)))
            elif part:
                ids.extend(self._native.encode(part))
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        checked = _checked(ids, self._size)
        if skip_special_tokens:
            checked = [i for i in checked if i not in self._special]
            return str(self._native.decode(checked)) if checked else ""
        return self._decode_with_specials(checked)

    def _decode_with_specials(self, ids: list[int]) -> str:
        """Only the text's own beginning loses the dummy prefix, as in the engine and in transformers; what follows a
        special token keeps its space."""
        text, run = "", list[int]()
        for token_id in ids:
            if token_id in self._special:
                text += self._decode_run(run, not text) + str(self._native.id_to_piece(token_id))
                run = []
            else:
                run.append(token_id)
        return text + self._decode_run(run, not text)

    def _decode_run(self, run: list[int], at_start: bool) -> str:
        if not run:
            return ""
        if at_start or self._anchor is None:
            return str(self._native.decode(run))
        anchor_id, anchor = self._anchor  # the library strips what begins a text, so another piece begins it
        return str(self._native.decode([anchor_id, *run]))[len(anchor) :]

    def _find_anchor(self) -> tuple[int, str] | None:
        for token_id in range(self._size):
            piece = str(self._native.id_to_piece(token_id))
            plain = token_id not in self._special and not self._native.is_byte(token_id)
            if plain and piece.isalnum() and self._native.decode([token_id]) == piece:
                return token_id, piece
        return None

    def token(self, token_id: int) -> str:
        return str(self._native.id_to_piece(token_id))


def load_tokenizer(bundle: BundleInfo) -> Tokenizer | None:
    """The bundle's tokenizer, or None when it has none. Raises CorruptBundleError, UnsupportedError."""
    section = bundle.section("tokenizer")
    if not section.get("file"):
        return None
    kind = section.get("kind")
    bos_id = bundle.section("model").get("bos_id")
    add_bos = bool(section.get("add_bos"))
    if kind not in ("tokenizers", "sentencepiece"):
        raise UnsupportedError(
            f"the bundle's tokenizer is of kind {kind!r}; this build knows tokenizers, sentencepiece"
        )
    data = bundle.read_checked(str(section["file"]))
    if kind == "tokenizers":
        return BytePairTokenizer(data, bos_id, add_bos)
    return SentencePieceTokenizer(data, bos_id, add_bos)


def _checked(ids: Sequence[int], size: int) -> list[int]:
    out = []
    for index, token_id in enumerate(ids):
        if not 0 <= token_id < size:
            raise InvalidArgumentError(f"token id {token_id} at index {index} is outside [0, {size})")
        out.append(int(token_id))
    return out


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"the text has a lone surrogate ({text[error.start]!r}) at index {error.start}, which is no character"
        ) from error
