"""Writes vocab.bin (docs/bundle-format.md): what each id stands for, so that C++ turns ids into text."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

import numpy as np

from skywork_rt.checkpoints.tokenizers.byte_level import token_bytes
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles, VocabularyEntry
from skywork_rt.errors import CheckpointError

__all__ = ["byte_level_entry", "encode_vocabulary", "sentencepiece_entry"]

_VERSION = 1
_KIND_BYTE_LEVEL, _KIND_SENTENCEPIECE, _KIND_BYTE_FALLBACK = 0, 1, 2
_FLAG_STRIP_FIRST_SPACE, _FLAG_STRIP_LEADING_SPACES = 1, 2
_SPECIAL, _BYTE, _UNUSED = 1, 2, 4
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_WORD_BEGIN = "\u2581"


def byte_level_entry(token: str, *, special: bool = False) -> VocabularyEntry:
    """The entry of a token of byte-level BPE."""
    return VocabularyEntry(token_bytes(token), special=special)


def sentencepiece_entry(
    piece: str, *, special: bool = False, unused: bool = False, byte_fallback: bool = True
) -> VocabularyEntry:
    """The entry of a SentencePiece piece: U+2581 is a space, <0xNN> is a byte where the model has byte fallback."""
    match = _BYTE_TOKEN.fullmatch(piece) if byte_fallback else None
    if match:
        return VocabularyEntry(bytes([int(match.group(1), 16)]), special=special, byte=True, unused=unused)
    return VocabularyEntry(
        piece.replace(_WORD_BEGIN, " ").encode("utf-8", "surrogateescape"), special=special, unused=unused
    )


def encode_vocabulary(tokenizer: TokenizerFiles, vocab_size: int) -> bytes:
    """vocab.bin for a model of `vocab_size` ids.

    Ids without a token (models pad their vocabulary) become unused entries of no bytes; entries past the vocabulary
    cannot be produced by the model and are left out.
    """
    entries: list[VocabularyEntry] = list(tokenizer.entries[:vocab_size])
    entries += [VocabularyEntry(b"", unused=True)] * (vocab_size - len(entries))
    blob = b"".join(entry.text for entry in entries)
    if len(blob) >= 2**32:
        raise CheckpointError(f"the vocabulary has {len(blob)} bytes of text; the format allows {2**32 - 1}")
    header = struct.pack(
        "<4sIIIIIQ", b"SKVB", _VERSION, _kind(tokenizer), _decode_flags(tokenizer), vocab_size, 0, len(blob)
    )
    table = header + _offsets(entries) + bytes(_flags(entry) for entry in entries)
    return table + b"\0" * (-len(table) % 8) + blob


def _kind(tokenizer: TokenizerFiles) -> int:
    if tokenizer.byte_level:
        return _KIND_BYTE_LEVEL
    # The same pieces, but the two libraries disagree on ill-formed runs of byte tokens.
    return _KIND_SENTENCEPIECE if tokenizer.kind == "sentencepiece" else _KIND_BYTE_FALLBACK


def _decode_flags(tokenizer: TokenizerFiles) -> int:
    first = _FLAG_STRIP_FIRST_SPACE if tokenizer.strip_first_space else 0
    return first | (_FLAG_STRIP_LEADING_SPACES if tokenizer.strip_leading_spaces else 0)


def _offsets(entries: Sequence[VocabularyEntry]) -> bytes:
    ends = np.cumsum([0, *(len(entry.text) for entry in entries)], dtype=np.int64)
    return ends.astype("<u4").tobytes()


def _flags(entry: VocabularyEntry) -> int:
    return (_SPECIAL if entry.special else 0) | (_BYTE if entry.byte else 0) | (_UNUSED if entry.unused else 0)
