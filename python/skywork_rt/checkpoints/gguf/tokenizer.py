"""The tokenizer in a GGUF file's metadata, rebuilt as tokenizer.json or tokenizer.model."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from skywork_rt.checkpoints.gguf.ends import UNDEFINED, ends_are_control, ends_of_generation
from skywork_rt.checkpoints.gguf.pre_tokenizers import DEFAULT, PreTokenizer, pre_tokenizer_of
from skywork_rt.checkpoints.gguf.sentencepiece import read_sentencepiece
from skywork_rt.checkpoints.tokenizers.sentencepiece_model import PieceType
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.tokenizers.tokenizer_json import tokenizer_json_files
from skywork_rt.checkpoints.tokenizers.vocabulary import byte_level_entry
from skywork_rt.errors import CheckpointError, UnsupportedError

__all__ = ["read_tokenizer"]

_log = logging.getLogger("skywork_rt.export")

_PREFIX = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_CONTROL_LIKE = re.compile(r"<\|[^<>|]{2,40}\|>")
_ENDS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
_ID_KEYS = tuple(f"{key}_token_id" for key in ("bos", "unknown", "padding", *_ENDS))
_SENTENCEPIECE_IDS = {"bos_token_id": 1, "eos_token_id": 2}


def read_tokenizer(metadata: Mapping[str, Any]) -> TokenizerFiles | None:
    """The tokenizer, or None when the file has none.

    Raises UnsupportedError for a tokenizer or a pre-tokenizer that is not known, CheckpointError for lists that do not
    belong together.
    """
    model = metadata.get(_PREFIX + "model")
    if model in (None, "none", "no_vocab"):
        return None
    if model == "gpt2":
        given = _Given(metadata, {})
        pre = given.pre_tokenizer()
        return _finish(given, _byte_level(given, pre), pre.add_bos)
    if model == "llama":
        given = _Given(metadata, _SENTENCEPIECE_IDS)
        return _finish(given, read_sentencepiece(given, str(metadata.get("general.name", ""))), True)
    raise UnsupportedError(
        f"GGUF tokenizer {str(model)[:40]!r} is not supported; known are gpt2 (byte-level BPE) and llama"
    )


def _finish(given: _Given, files: TokenizerFiles, adds_bos: bool) -> TokenizerFiles:
    """The files with the ids and templates that the metadata states; `adds_bos` where it does not say."""
    ids, templates = given.ids, given.chat_templates()
    _warn_of_ordinary_controls(given, "".join(templates.values()))
    bos, eos, pad = ids["bos_token_id"], ids["eos_token_id"], ids["padding_token_id"]
    names = {"bos_token": bos, "eos_token": eos, "unk_token": ids["unknown_token_id"], "pad_token": pad}
    return dataclasses.replace(
        files,
        prefix_ids=(bos,) if given.flag("add_bos_token", adds_bos) and bos is not None else (),
        suffix_ids=(eos,) if given.flag("add_eos_token", False) and eos is not None else (),
        chat_templates=templates,
        special_tokens={name: given.tokens[index] for name, index in names.items() if index is not None},
        bos_id=bos,
        pad_id=pad,
        eos_ids=ends_of_generation(given.tokens, given.types, ids),
    )


def _warn_of_ordinary_controls(given: _Given, templates: str) -> None:
    """Early converters called ChatML's tokens ordinary text; a template then writes what was never trained."""
    for text, kind in zip(given.tokens, given.types, strict=True):
        if kind == PieceType.NORMAL and _CONTROL_LIKE.fullmatch(text) and text in templates:
            _log.warning(
                "the chat template writes %s as a token, but the file calls %s ordinary text, so prompts spell it "
                "out: convert the model to GGUF again",
                text,
                text,
            )


class _Given:
    """The tokenizer's metadata, checked. `defaults`: ids that llama.cpp takes where a file names none.

    `ids` are those that the file names, by their key without prefix; one that no token has is not believed, as in
    llama.cpp.
    """

    def __init__(self, metadata: Mapping[str, Any], defaults: Mapping[str, int]) -> None:
        self._metadata = metadata
        self.tokens: list[str] = self._list("tokens", str)
        if not self.tokens:
            raise CheckpointError("GGUF metadata tokenizer.ggml.tokens is missing or empty")
        self.types = ends_are_control(self.tokens, self._one_each("token_type", int, UNDEFINED))
        self.ids = {key: self._id(key, defaults.get(key)) for key in _ID_KEYS}

    def scores(self) -> list[float]:
        """0 where the file has none: then the leftmost pair is merged first."""
        return [float(score) for score in self._one_each("scores", int | float, 0.0)]

    def merges(self) -> list[tuple[str, str]]:
        merges = []
        for index, merge in enumerate(self._list("merges", str)):
            left, space, right = merge.partition(" ")
            if not (left and space and right) or " " in right:
                raise CheckpointError(f"GGUF merge {index} is {merge[:80]!r}; expected two tokens and a space")
            merges.append((left, right))
        return merges

    def _id(self, key: str, default: int | None) -> int | None:
        value = self._metadata.get(_PREFIX + key)
        count = len(self.tokens)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count:
            return value
        if value is not None and value != 0xFFFFFFFF:
            _log.warning("GGUF metadata %s%s is %.40s; there are %d tokens: it is left out", _PREFIX, key, value, count)
        return default if default is not None and default < count else None

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

    def chat_templates(self) -> dict[str, str]:
        """tokenizer.chat_template is the default one; tokenizer.chat_template.NAME is another."""
        templates: dict[str, str] = {}
        for key, value in self._metadata.items():
            if key != _TEMPLATE and not key.startswith(_TEMPLATE + "."):
                continue
            if not isinstance(value, str):
                raise CheckpointError(f"GGUF metadata {key[:80]} is a {type(value).__name__}; expected text")
            templates[key[len(_TEMPLATE) + 1 :] or "default"] = value
        return templates

    def _list(self, key: str, kind: Any) -> list[Any]:
        value = self._metadata.get(_PREFIX + key, [])
        if not isinstance(value, list) or not all(
            isinstance(item, kind) and not isinstance(item, bool) for item in value
        ):
            raise CheckpointError(f"GGUF metadata {_PREFIX}{key} is no list of {getattr(kind, '__name__', kind)}")
        return value

    def _one_each(self, key: str, kind: Any, default: Any) -> list[Any]:
        """A value for each token; a longer list is cut, as llama.cpp reads it."""
        values = self._list(key, kind) or [default] * len(self.tokens)
        if len(values) < len(self.tokens):
            raise CheckpointError(f"GGUF metadata {_PREFIX}{key} has {len(values)} items for {len(self.tokens)} tokens")
        return values[: len(self.tokens)]


def _byte_level(given: _Given, pre: PreTokenizer) -> TokenizerFiles:
    texts = _unique(given.tokens)
    vocabulary = {token: index for index, token in enumerate(texts)}
    try:
        model = models.BPE(vocab=vocabulary, merges=given.merges(), fuse_unk=False, ignore_merges=pre.ignore_merges)
        tokenizer = Tokenizer(model)
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"GGUF tokenizer is rejected by the tokenizers library: {error}") from error
    if pre.nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(pre.patterns)
    tokenizer.decoder = decoders.ByteLevel()
    _add_special_tokens(tokenizer, texts, given.types)
    files = tokenizer_json_files(tokenizer.to_str(), where="GGUF tokenizer")
    doubled = [index for index, text in enumerate(texts) if text != given.tokens[index]]
    entries = list(files.entries)
    for index in doubled:
        entries[index] = byte_level_entry(given.tokens[index], special=entries[index].special)
    return dataclasses.replace(files, entries=entries)


def _unique(tokens: Sequence[str]) -> list[str]:
    """Texts by which the library can tell the tokens apart: empty and doubled ones get one that no text spells."""
    seen: set[str] = set()
    texts = []
    for index, token in enumerate(tokens):
        texts.append(token if token and token not in seen else f"<skywork_rt:{index}>")
        seen.add(token)
    return texts


def _pre_tokenizer(patterns: Sequence[str]) -> pre_tokenizers.PreTokenizer:
    """tokenizer.ggml.add_space_prefix is SentencePiece's and has no meaning here, as in llama.cpp."""
    steps: list[pre_tokenizers.PreTokenizer] = [
        pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns
    ]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(steps)


def _add_special_tokens(tokenizer: Tokenizer, texts: Sequence[str], types: Sequence[int]) -> None:
    """Control and user-defined tokens are found whole in text; they keep the ids that they have in the vocabulary."""
    special = [text for text, kind in zip(texts, types, strict=True) if kind in (PieceType.CONTROL, PieceType.UNKNOWN)]
    own = [text for text, kind in zip(texts, types, strict=True) if kind == PieceType.USER_DEFINED]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in own])
