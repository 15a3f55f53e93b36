"""SentencePiece in a GGUF file's metadata, rebuilt as tokenizer.model.

Files differ from what the sentencepiece library takes: the unknown token is a control token, or there are several, or
none; tokens are empty, or there twice; scores or types are missing. llama.cpp takes all of these, and finds bytes by
their text. So the rebuilt model has pieces that the library takes, while vocab.bin and the added tokens have the file's
own.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Protocol

from skywork_rt.bundle.added_token import AddedToken
from skywork_rt.checkpoints.tokenizers.sentencepiece_model import (
    Piece,
    PieceType,
    build_model,
    sentencepiece_files,
)
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles, VocabularyEntry
from skywork_rt.checkpoints.tokenizers.vocabulary import sentencepiece_entry
from skywork_rt.errors import CheckpointError

__all__ = ["read_sentencepiece"]

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_UNKNOWN = "<unk>"
_WHOLE = (PieceType.CONTROL, PieceType.UNKNOWN, PieceType.USER_DEFINED)
_SPECIAL = (PieceType.CONTROL, PieceType.UNKNOWN)


class _Tokens(Protocol):
    """What the metadata says of the tokens."""

    tokens: list[str]
    types: list[int]
    ids: dict[str, int | None]

    def scores(self) -> list[float]: ...
    def flag(self, key: str, default: bool) -> bool: ...


def read_sentencepiece(given: _Tokens, model_name: str) -> TokenizerFiles:
    """The tokenizer; special ids and templates are the caller's. Raises CheckpointError for what fits into no model."""
    types = _with_bytes(given.tokens, given.types)
    unk_id = _unknown_id(given, types)
    pieces = _pieces(given.tokens, given.scores(), types, unk_id)
    prefix = given.flag("add_space_prefix", True)
    try:
        content = build_model(pieces, unk_id=unk_id, add_dummy_prefix=prefix)
    except (TypeError, ValueError, UnicodeError) as error:
        raise CheckpointError(f"GGUF tokenizer does not fit into a SentencePiece model: {error}") from error
    files = sentencepiece_files(content, where="GGUF tokenizer")
    phi3 = re.search("phi-?3", model_name, re.IGNORECASE) is not None
    return dataclasses.replace(files, entries=_entries(given, types), added=_added(given.tokens, types, phi3))


def _with_bytes(tokens: Sequence[str], types: Sequence[int]) -> list[int]:
    """Types in which exactly a whole set of bytes is bytes: the library takes all 256 or none."""
    by_text = {index for index, text in enumerate(tokens) if _BYTE.fullmatch(text)}
    whole = len({tokens[index] for index in by_text}) == 256
    return [
        PieceType.BYTE
        if whole and index in by_text
        else (PieceType.NORMAL if kind == PieceType.BYTE or not 1 <= kind <= 6 else kind)
        for index, kind in enumerate(types)
    ]


def _unknown_id(given: _Tokens, types: Sequence[int]) -> int:
    """The one piece that stands for what no piece spells; one behind the vocabulary where the file has none."""
    stated = given.ids["unknown_token_id"]
    if stated is not None:
        return stated
    if PieceType.UNKNOWN in types:
        return types.index(PieceType.UNKNOWN)
    return given.tokens.index(_UNKNOWN) if _UNKNOWN in given.tokens else len(given.tokens)


def _pieces(tokens: Sequence[str], scores: Sequence[float], types: Sequence[int], unk_id: int) -> list[Piece]:
    """Pieces that the library takes: none empty, none twice, one unknown, and none that only added tokens may spell."""
    taken: set[str] = set()
    pieces = []
    for index, (text, score, kind) in enumerate(zip(tokens, scores, types, strict=True)):
        if not text or text in taken:
            text, kind = f"<skywork_rt:{index}>", PieceType.UNUSED
        elif index == unk_id:
            kind = PieceType.UNKNOWN
        elif kind in _WHOLE:
            kind = PieceType.CONTROL
        taken.add(text)
        pieces.append(Piece(text, score, kind))
    if unk_id >= len(tokens):
        text = _UNKNOWN if _UNKNOWN not in taken else f"<skywork_rt:{unk_id}>"
        pieces.append(Piece(text, 0.0, PieceType.UNKNOWN))
    return pieces


def _entries(given: _Tokens, types: Sequence[int]) -> list[VocabularyEntry]:
    return [
        sentencepiece_entry(
            text,
            special=kind in _SPECIAL,
            unused=not text or kind == PieceType.UNUSED,
            byte_fallback=PieceType.BYTE in (kind, stated),
        )
        for text, kind, stated in zip(given.tokens, types, given.types, strict=True)
    ]


def _added(tokens: Sequence[str], types: Sequence[int], phi3: bool) -> dict[int, AddedToken]:
    """What text is cut at. llama.cpp lets the special tokens of Phi-3 take the spaces behind them."""
    return {
        index: AddedToken(text, special=kind in _SPECIAL, rstrip=phi3 and text not in ("<unk>", "<s>", "<|endoftext|>"))
        for index, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if text and kind in _WHOLE
    }
