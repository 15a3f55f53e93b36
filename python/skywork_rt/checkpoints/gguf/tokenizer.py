"""The tokenizer in a GGUF file's metadata, rebuilt as tokenizer.json or tokenizer.model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from skywork_rt.checkpoints.tokenizers.sentencepiece_model import Piece, PieceType, build_model, sentencepiece_files
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.tokenizers.tokenizer_json import tokenizer_json_files
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["PRE_TOKENIZERS", "read_tokenizer"]

_PREFIX = "tokenizer.ggml."

# Patterns are facts about the models, published in their tokenizer.json files.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DIGITS = r"\p{N}"
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")

PRE_TOKENIZERS: dict[str, tuple[str, ...]] = {
    "default": _DEFAULT,
    "gpt-2": (_GPT2,),
    "mpt": (_GPT2,),
    "olmo": (_GPT2,),
    "smollm": (_DIGITS, _GPT2),
    "starcoder": (_DIGITS, _GPT2),
    "refact": (_DIGITS, _GPT2),
    "command-r": (_DIGITS, _GPT2),
    "codeshell": (_DIGITS, _GPT2),
    "llama-bpe": (_LLAMA3,),
    "llama-v3": (_LLAMA3,),
    "llama3": (_LLAMA3,),
    "dbrx": (_LLAMA3,),
    "smaug-bpe": (_LLAMA3,),
    "qwen2": (_QWEN2,),
    "deepseek-r1-qwen": (_QWEN2,),
    "tekken": (_TEKKEN,),
}
"""tokenizer.ggml.pre to the patterns that split text one after the other before BPE runs."""

_IGNORE_MERGES = {"llama-bpe", "llama-v3", "llama3", "tekken"}  # a word that is a token is taken whole
_NORMALISE_NFC = {"qwen2", "deepseek-r1-qwen"}


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

    def pre_tokenizer(self) -> str:
        value = self._metadata.get(_PREFIX + "pre", "default")
        if not isinstance(value, str) or value not in PRE_TOKENIZERS:
            raise UnsupportedError(
                f"GGUF pre-tokenizer {str(value)[:40]!r} is not supported; known are {', '.join(PRE_TOKENIZERS)}"
            )
        return value

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
        model = models.BPE(vocab=vocabulary, merges=given.merges(), fuse_unk=False, ignore_merges=pre in _IGNORE_MERGES)
        tokenizer = Tokenizer(model)
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"GGUF tokenizer is rejected by the tokenizers library: {error}") from error
    if pre in _NORMALISE_NFC:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(PRE_TOKENIZERS[pre], given.flag("add_space_prefix", False))
    tokenizer.decoder = decoders.ByteLevel()
    _add_special_tokens(tokenizer, given)
    return tokenizer_json_files(
        tokenizer.to_str(),
        where="GGUF tokenizer",
        # llama.cpp adds BOS by default for this one kind of byte-level tokenizer only.
        add_bos=given.flag("add_bos_token", pre in _IGNORE_MERGES) and given.bos_id is not None,
        bos_id=given.bos_id,
        pad_id=given.pad_id,
        chat_template=given.chat_template,
        eos_ids=given.eos_ids,
    )


def _pre_tokenizer(patterns: Sequence[str], add_space_prefix: bool) -> pre_tokenizers.PreTokenizer:
    steps: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns
    ]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=add_space_prefix, use_regex=False))
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
