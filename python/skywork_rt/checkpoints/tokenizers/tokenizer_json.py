"""tokenizer.json, checked with the library that will read it and taken apart for vocab.bin."""

from __future__ import annotations

import json
import re
from typing import Any

from tokenizers import Tokenizer

from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles, VocabularyEntry
from skywork_rt.checkpoints.tokenizers.vocabulary import byte_level_entry, sentencepiece_entry
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["load_tokenizer", "tokenizer_json_files"]

_PROBE = "a"
_WORD_BEGIN = "\u2581"


def load_tokenizer(content: str, where: str) -> Tokenizer:
    """The tokenizer, or CheckpointError with what the library says is wrong."""
    try:
        return Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{where} is no tokenizer: {error}") from error


def tokenizer_json_files(content: str, *, where: str = "tokenizer.json") -> TokenizerFiles:
    """Checks tokenizer.json and lists what its ids stand for, and what its post-processor puts around a prompt.

    Raises CheckpointError for a file that the library rejects, and UnsupportedError for a decoder that vocab.bin cannot
    express exactly.
    """
    tokenizer = load_tokenizer(content, where)
    decoders = _decoders(json.loads(content).get("decoder"))
    byte_level = any(decoder.get("type") == "ByteLevel" for decoder in decoders)
    strips = not byte_level and _strips_first_space(decoders, tokenizer, where)
    prefix, suffix = _around(tokenizer)
    return TokenizerFiles(
        kind="tokenizers",
        content=content.encode("utf-8"),
        entries=_entries(tokenizer, byte_level, any(decoder.get("type") == "ByteFallback" for decoder in decoders)),
        byte_level=byte_level,
        prefix_ids=prefix,
        suffix_ids=suffix,
        strip_first_space=strips,
    )


def _decoders(decoder: Any) -> list[dict[str, Any]]:
    """The decoder's steps, with sequences taken apart."""
    if not isinstance(decoder, dict):
        return []
    if decoder.get("type") == "Sequence":
        return [step for inner in decoder.get("decoders", []) for step in _decoders(inner)]
    return [decoder]


def _strips_first_space(decoders: list[dict[str, Any]], tokenizer: Tokenizer, where: str) -> bool:
    """Whether a SentencePiece-like decoder takes one leading space from the text.

    Known are U+2581 as space by Replace, then maybe ByteFallback, Fuse and Strip, as Llama's tokenizers have it, and a
    lone Metaspace.
    """
    names = [str(decoder.get("type")) for decoder in decoders]
    if names == ["Metaspace"] and decoders[0].get("replacement") == _WORD_BEGIN:
        return _metaspace_strips(decoders[0], tokenizer, where)
    known = re.fullmatch("Replace(,ByteFallback)?(,Fuse(,Strip)?)?", ",".join(names))
    if known is None or not _replaces_word_begin(decoders[0]) or (known[3] and not _strips_one_space(decoders[-1])):
        raise UnsupportedError(
            f"{where} has the decoder {', '.join(names) or 'none'}; supported are ByteLevel, Metaspace, and Replace "
            "(U+2581 by a space), which ByteFallback, Fuse and Strip (' ', 1, 0) may follow in this order"
        )
    return known[3] is not None


def _replaces_word_begin(decoder: dict[str, Any]) -> bool:
    return decoder.get("pattern") == {"String": _WORD_BEGIN} and decoder.get("content") == " "


def _strips_one_space(decoder: dict[str, Any]) -> bool:
    return (decoder.get("content"), decoder.get("start"), decoder.get("stop")) == (" ", 1, 0)


def _metaspace_strips(decoder: dict[str, Any], tokenizer: Tokenizer, where: str) -> bool:
    """Metaspace leaves out every U+2581 of the first token. That is one leading space less as long as no token has
    another one, and can't be said in vocab.bin otherwise."""
    if decoder.get("prepend_scheme", "always") == "never" or decoder.get("add_prefix_space") is False:
        return False
    for token, index in tokenizer.get_vocab(with_added_tokens=True).items():
        if not token or token.startswith(" ") or _WORD_BEGIN in token[1:]:
            raise UnsupportedError(
                f"{where} has the decoder Metaspace, which leaves out every U+2581 of a text's first token, and token "
                f"{index} is {token!r}: a bundle can leave out one leading space only; give the file Llama's decoder, "
                "the Sequence of Replace (U+2581 by a space), ByteFallback, Fuse, Strip (' ', 1, 0)"
            )
    return True


def _around(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the post-processor puts before and after a text's own."""
    encoding = tokenizer.encode(_PROBE, add_special_tokens=True)
    added = [bool(flag) for flag in encoding.special_tokens_mask]
    if all(added):
        return (), ()
    first, last = added.index(False), len(added) - added[::-1].index(False)
    return tuple(encoding.ids[:first]), tuple(encoding.ids[last:])


def _entries(tokenizer: Tokenizer, byte_level: bool, byte_fallback: bool) -> list[VocabularyEntry]:
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    added = tokenizer.get_added_tokens_decoder()
    entries = [VocabularyEntry(b"", unused=True)] * (max(vocabulary.values(), default=-1) + 1)
    for token, index in vocabulary.items():
        special = index in added and added[index].special
        if byte_level:
            entries[index] = byte_level_entry(token, special=special)
        else:
            entries[index] = sentencepiece_entry(token, special=special, byte_fallback=byte_fallback)
    return entries
