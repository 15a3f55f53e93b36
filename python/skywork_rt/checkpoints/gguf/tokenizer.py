"""The tokenizer in a GGUF file's metadata, rebuilt as tokenizer.json or tokenizer.model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from skywork_rt.checkpoints.gguf.pre_tokenizers import DEFAULT, PreTokenizer, pre_tokenizer_of
from skywork_rt.checkpoints.tokenizers.sentencepiece_model import Piece, PieceType, build_model, sentencepiece_files
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.tokenizers.tokenizer_json import tokenizer_json_files
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["read_tokenizer"]

_PREFIX = "tokenizer.ggml."

_log = logging.getLogger("skywork_rt.export")


def read_tokenizer(metadata: Mapping[str, Any]) -> TokenizerFiles | None:
    """The tokenizer, or None when the file has none.

    Raises UnsupportedError for a tokenizer or a pre-tokenizer that is not known, CheckpointError for lists that do not
    belong together.
    """
    model = metadata.get(_PREFIX + "model")
    if model is None:
        return None
    given = _Given(metadata)
    if model == "gpt2":
        return _byte_level(given)
    if model == "llama":
        return _sentencepiece(given)
    raise UnsupportedError(
        f"GGUF tokenizer {str(model)[:40]!r} is not supported; known are gpt2 (byte-level BPE) and llama"
    )


class _Given:
    """The tokenizer's metadata, checked."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self.tokens: list[str] = self._list("tokens", str)
        if not self.tokens:
            raise CheckpointError("GGUF metadata tokenizer.ggml.tokens is missing or empty")
        self.types: list[int] = self._list("token_type", int) or [PieceType.NORMAL] * len(self.tokens)
        self._same_length("token_type", self.types)
        self.chat_template = self._chat_template()
        self.bos_id, self.pad_id = self.id("bos_token_id"), self.id("padding_token_id")
        ends = (self.id("eos_token_id"), self.id("eot_token_id"), self.id("eom_token_id"))
        self.eos_ids = tuple(dict.fromkeys(end for end in ends if end is not None))

    def scores(self) -> list[float]:
        scores: list[float] = self._list("scores", float)
        self._same_length("scores", scores)
        return scores

    def merges(self) -> list[tuple[str, str]]:
        merges = []
        for index, merge in enumerate(self._list("merges", str)):
            left, space, right = merge.partition(" ")
            if not (left and space and right) or " " in right:
                raise CheckpointError(f"GGUF merge {index} is {merge[:80]!r}; expected two tokens and a space")
            merges.append((left, right))
        return merges

    def id(self, key: str) -> int | None:
        value = self._metadata.get(_PREFIX + key)
        if value is None or value == 0xFFFFFFFF:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(self.tokens):
            raise CheckpointError(
                f"GGUF metadata {_PREFIX}{key} is {str(value)[:40]}; there are {len(self.tokens)} tokens"
            )
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._metadata.get(_PREFIX + key, default)
        if not isinstance(value, bool):
            raise CheckpointError(f"GGUF metadata {_PREFIX}{key} is {str(value)[:40]}; expected a bool")
        return value

    def pre_tokenizer(self) -> PreTokenizer:
        name = self._metadata.get(_PREFIX + "pre", "")
        if not isinstance(name, str):
            raise CheckpointError(f"GGUF metadata {_PREFIX}pre is a {type(name).__name__}; expected text")
        if name:
            return pre_tokenizer_of(name)
        _log.warning(
            "The GGUF file names no pre-tokenizer (tokenizer.ggml.pre), so text is split as llama.cpp does it by "
            "default. If the model splits text otherwise, as Llama 3 files of early 2024 do, its ids are worse than "
            "they should be: convert the model to GGUF again, or export its Hugging Face directory."
        )
        return DEFAULT

    def _chat_template(self) -> str | None:
        value = self._metadata.get("tokenizer.chat_template")
        if value is not None and not isinstance(value, str):
            raise CheckpointError(f"GGUF metadata tokenizer.chat_template is a {type(value).__name__}; expected text")
        return value

    def _list(self, key: str, kind: type) -> list[Any]:
        value = self._metadata.get(_PREFIX + key, [])
        if not isinstance(value, list) or not all(type(item) is kind for item in value):
            raise CheckpointError(f"GGUF metadata {_PREFIX}{key} is no list of {kind.__name__}")
        return value

    def _same_length(self, key: str, values: Sequence[Any]) -> None:
        if len(values) != len(self.tokens):
            raise CheckpointError(f"GGUF metadata {_PREFIX}{key} has {len(values)} items for {len(self.tokens)} tokens")


def _byte_level(given: _Given) -> TokenizerFiles:
    pre = given.pre_tokenizer()
    vocabulary = {token: index for index, token in enumerate(given.tokens)}
    if len(vocabulary) != len(given.tokens):
        raise CheckpointError(f"GGUF tokenizer has {len(given.tokens) - len(vocabulary)} tokens twice")
    try:
        model = models.BPE(vocab=vocabulary, merges=given.merges(), fuse_unk=False, ignore_merges=pre.ignore_merges)
        tokenizer = Tokenizer(model)
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"GGUF tokenizer is rejected by the tokenizers library: {error}") from error
    if pre.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(pre.patterns)
    tokenizer.decoder = decoders.ByteLevel()
    _add_special_tokens(tokenizer, given)
    return tokenizer_json_files(
        tokenizer.to_str(),
        where="GGUF tokenizer",
        add_bos=given.flag("add_bos_token", pre.add_bos) and given.bos_id is not None,
        bos_id=given.bos_id,
        pad_id=given.pad_id,
        chat_template=given.chat_template,
        eos_ids=given.eos_ids,
    )


def _pre_tokenizer(patterns: Sequence[str]) -> pre_tokenizers.PreTokenizer:
    """tokenizer.ggml.add_space_prefix is SentencePiece's and has no meaning here, as in llama.cpp."""
    steps: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns
    ]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(steps)


def _add_special_tokens(tokenizer: Tokenizer, given: _Given) -> None:
    """Control and user-defined tokens are found whole in text; they keep the ids that they have in the vocabulary."""
    control = [
        t for t, kind in zip(given.tokens, given.types, strict=True) if kind in (PieceType.CONTROL, PieceType.UNKNOWN)
    ]
    own = [t for t, kind in zip(given.tokens, given.types, strict=True) if kind == PieceType.USER_DEFINED]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in own])


def _sentencepiece(given: _Given) -> TokenizerFiles:
    scores = given.scores()
    unk_id = given.id("unknown_token_id")
    unknown = [index for index, kind in enumerate(given.types) if kind == PieceType.UNKNOWN]
    if unk_id is None and len(unknown) == 1:
        unk_id = unknown[0]
    if unk_id is None or unknown != [unk_id]:
        raise CheckpointError(
            f"GGUF tokenizer has {len(unknown)} unknown tokens, at {unknown[:5]}; SentencePiece has one"
        )
    pieces = [Piece(*item) for item in zip(given.tokens, scores, given.types, strict=True)]
    try:
        content = build_model(
            pieces,
            unk_id=unk_id,
            bos_id=given.bos_id,
            eos_id=given.id("eos_token_id"),
            pad_id=given.pad_id,
            add_dummy_prefix=given.flag("add_space_prefix", True),
        )
    except (TypeError, ValueError, UnicodeError) as error:
        raise CheckpointError(f"GGUF tokenizer does not fit into a SentencePiece model: {error}") from error
    return sentencepiece_files(
        content,
        where="GGUF tokenizer",
        add_bos=given.flag("add_bos_token", True) and given.bos_id is not None,
        chat_template=given.chat_template,
        bos_id=given.bos_id,
        pad_id=given.pad_id,
        eos_ids=given.eos_ids,
    )
