"""tokenizer.json, checked with the library that will read it and taken apart for vocab.bin."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer

from skywork_rt.errors import CheckpointError, UnsupportedError
from skywork_rt.export.tokenizer_files import TokenizerFiles, VocabularyEntry
from skywork_rt.export.vocabulary import byte_level_entry, sentencepiece_entry

__all__ = ["load_tokenizer", "tokenizer_json_files"]

_PROBE = "a"


def load_tokenizer(content: str, where: str) -> Tokenizer:
    """The tokenizer, or CheckpointError with what the library says is wrong."""
    try:
        return Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{where} is no tokenizer: {error}") from error


def tokenizer_json_files(
    content: str,
    *,
    where: str = "tokenizer.json",
    add_bos: bool | None = None,
    bos_id: int | None = None,
    pad_id: int | None = None,
    chat_template: str | None = None,
    eos_ids: tuple[int, ...] = (),
) -> TokenizerFiles:
    """Checks tokenizer.json and lists what its ids stand for.

    `add_bos` None asks the tokenizer itself. Raises CheckpointError for a file that the library rejects, and
    UnsupportedError for a decoder that is neither byte-level nor SentencePiece-like.
    """
    tokenizer = load_tokenizer(content, where)
    decoders = _decoders(json.loads(content).get("decoder"))
    byte_level = any(decoder.get("type") == "ByteLevel" for decoder in decoders)
    if not byte_level and not _is_sentencepiece_like(decoders):
        names = ", ".join(str(decoder.get("type")) for decoder in decoders) or "none"
        raise UnsupportedError(f"{where} has the decoder {names}; supported are byte-level and SentencePiece-like ones")
    return TokenizerFiles(
        kind="tokenizers",
        content=content.encode("utf-8"),
        entries=_entries(tokenizer, byte_level),
        byte_level=byte_level,
        add_bos=_adds_bos(tokenizer, bos_id) if add_bos is None else add_bos,
        strip_first_space=not byte_level and _strips_first_space(decoders),
        chat_template=chat_template,
        bos_id=bos_id,
        pad_id=pad_id,
        eos_ids=eos_ids,
    )


def _decoders(decoder: Any) -> list[dict[str, Any]]:
    """The decoder's steps, with sequences taken apart."""
    if not isinstance(decoder, dict):
        return []
    if decoder.get("type") == "Sequence":
        return [step for inner in decoder.get("decoders", []) for step in _decoders(inner)]
    return [decoder]


def _is_sentencepiece_like(decoders: list[dict[str, Any]]) -> bool:
    return any(
        decoder.get("type") in ("Metaspace", "ByteFallback")
        or (decoder.get("type") == "Replace" and decoder.get("content") == " ")
        for decoder in decoders
    )


def _strips_first_space(decoders: list[dict[str, Any]]) -> bool:
    for decoder in decoders:
        if decoder.get("type") == "Strip" and decoder.get("content") == " " and decoder.get("start") == 1:
            return True
        if decoder.get("type") == "Metaspace":
            return bool(decoder.get("prepend_scheme", "always") != "never" and decoder.get("add_prefix_space", True))
    return False


def _adds_bos(tokenizer: Tokenizer, bos_id: int | None) -> bool:
    ids: list[int] = tokenizer.encode(_PROBE, add_special_tokens=True).ids
    plain: list[int] = tokenizer.encode(_PROBE, add_special_tokens=False).ids
    return bos_id is not None and ids[:1] == [bos_id] and plain[:1] != [bos_id]


def _entries(tokenizer: Tokenizer, byte_level: bool) -> list[VocabularyEntry]:
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    added = tokenizer.get_added_tokens_decoder()
    entries = [VocabularyEntry(b"", unused=True)] * (max(vocabulary.values(), default=-1) + 1)
    for token, index in vocabulary.items():
        special = index in added and added[index].special
        make = byte_level_entry if byte_level else sentencepiece_entry
        entries[index] = make(token, special=special)
    return entries
