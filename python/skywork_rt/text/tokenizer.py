"""Text to ids and back: byte-level BPE through `tokenizers`, SentencePiece through `sentencepiece`.

Both libraries are imported when a tokenizer is first needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from skywork_rt._core import Vocabulary
from skywork_rt.bundle.added_token import AddedToken, SpacePrefix
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.errors import CorruptBundleError, InvalidArgumentError, UnsupportedError
from skywork_rt.text.added_token_splitter import AddedTokenSplitter

__all__ = ["Tokenizer", "load_tokenizer", "make_tokenizer"]


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

        add_special_tokens: begin with the bos id; None: what the tokenizer's own configuration puts around a text.
        """
        ...

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of `ids`. Bytes that form no character become U+FFFD."""
        ...

    def token(self, token_id: int) -> str:
        """How the vocabulary writes one id."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of text that one id stands for; not always whole characters. Special tokens have their own text.

        Raises InvalidArgumentError for an id that the model lacks.
        """
        ...


class _Base(ABC):
    """What stands around a prompt, and the vocabulary, through which the engine decodes too."""

    def __init__(self, frame: _Frame, vocabulary: Vocabulary, size: int) -> None:
        self._frame = frame
        self._vocabulary = vocabulary
        self._size = size

    @property
    def vocab_size(self) -> int:
        return self._size

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        # A tokenizer may have tokens that the model lacks: only the model's can be decoded.
        return self._vocabulary.decode(_checked(ids, len(self._vocabulary)), skip_special_tokens)

    def token_bytes(self, token_id: int) -> bytes:
        return self._vocabulary.token_bytes(token_id)

    def encode(self, text: str, *, add_special_tokens: bool | None = None) -> list[int]:
        _refuse_surrogates(text)
        ids = self._encode(text)
        if add_special_tokens is None:
            return [*self._frame.prefix, *ids, *self._frame.suffix]
        return [*self._frame.bos, *ids] if add_special_tokens else ids

    @abstractmethod
    def _encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class _Frame:
    """Ids that `encode` adds: before and after a text as configured, and bos alone."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    bos: tuple[int, ...]


# Characters whose encoding takes a millisecond or two.
_SHORT_TEXT = 2000


class BytePairTokenizer(_Base):
    """tokenizer.json, by Hugging Face's `tokenizers`."""

    kind = "tokenizers"

    def __init__(self, data: bytes, frame: _Frame, vocabulary: Vocabulary) -> None:
        from tokenizers import Tokenizer as Native

        try:
            self._native: Any = Native.from_buffer(data)
        except Exception as error:  # the library raises plain Exception
            raise CorruptBundleError(f"tokenizer.json does not load: {error}") from error
        self._native.no_padding()
        self._native.no_truncation()
        super().__init__(frame, vocabulary, int(self._native.get_vocab_size(with_added_tokens=True)))

    def _encode(self, text: str) -> list[int]:
        # What the file's post-processor would add is left out: it is added above, by one rule for both kinds. A call of
        # the library for one text holds the GIL, one for a list does not: a long text shall not stop other threads.
        if len(text) <= _SHORT_TEXT:
            encoding = self._native.encode(text, add_special_tokens=False)
        else:
            (encoding,) = self._native.encode_batch([text], add_special_tokens=False)
        ids: list[int] = encoding.ids
        return ids

    def token(self, token_id: int) -> str:
        return str(self._native.id_to_token(token_id) or "")


class SentencePieceTokenizer(_Base):
    """tokenizer.model, by Google's `sentencepiece`, and the added tokens beside it."""

    kind = "sentencepiece"

    def __init__(
        self,
        data: bytes,
        frame: _Frame,
        vocabulary: Vocabulary,
        added: Mapping[int, AddedToken],
        prefix: SpacePrefix,
    ) -> None:
        self._data = data
        self._native = _load_sentencepiece(data)
        self._added = dict(added)
        self._splitter = AddedTokenSplitter(added, prefix)
        super().__init__(frame, vocabulary, max([int(self._native.vocab_size()), *(index + 1 for index in added)]))

    @cached_property
    def _unprefixed(self) -> Any:
        """The model without its space in front of a text, which few texts need."""
        return _load_sentencepiece(self._data + _NO_DUMMY_PREFIX)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in self._splitter.split(text):
            if isinstance(part, int):
                ids.append(part)
            elif part.prefixed and part.text:
                ids += self._native.encode(part.text)
            else:
                ids += self._unprefixed.encode(part.text or " ")
        return ids

    def token(self, token_id: int) -> str:
        if token_id in self._added:
            return self._added[token_id].content
        return str(self._native.id_to_piece(token_id)) if token_id < self._native.vocab_size() else ""


# Protobuf merges a message that comes again into the first: this sets add_dummy_prefix (field 3) of normalizer_spec
# (field 3) of SentencePiece's ModelProto to false.
_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"


def _load_sentencepiece(data: bytes) -> Any:
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=data)
    except Exception as error:  # the library raises RuntimeError or TypeError
        raise CorruptBundleError(f"tokenizer.model does not load: {error}") from error


def load_tokenizer(bundle: BundleInfo) -> Tokenizer | None:
    """The bundle's tokenizer, or None when it has none. Raises CorruptBundleError, UnsupportedError."""
    section = bundle.section("tokenizer")
    if not section.get("file"):
        return None
    data = bundle.read_checked(str(section["file"]))
    bundle.read_checked(str(section.get("vocabulary")))
    vocabulary = Vocabulary(str(bundle.directory / str(section["vocabulary"])))
    return make_tokenizer(section, data, vocabulary, bundle.section("model").get("bos_id"))


def make_tokenizer(section: Mapping[str, Any], data: bytes, vocabulary: Vocabulary, bos_id: int | None) -> Tokenizer:
    """From the section `tokenizer` of model.json, the content of the file that it names and of vocab.bin."""
    kind, prefix = section.get("kind"), section.get("space_prefix", "always")
    frame = _frame(section, () if bos_id is None else (int(bos_id),))
    if kind == "tokenizers":
        return BytePairTokenizer(data, frame, vocabulary)
    if kind != "sentencepiece":
        raise UnsupportedError(
            f"the bundle's tokenizer is of kind {kind!r}; this build knows tokenizers, sentencepiece"
        )
    if prefix not in ("always", "first", "never"):
        raise UnsupportedError(f"the bundle's space_prefix is {prefix!r}; this build knows always, first, never")
    added = section.get("added_tokens")
    tokens = _control_pieces(data) if added is None else _added_tokens(added)
    return SentencePieceTokenizer(data, frame, vocabulary, tokens, prefix)


def _frame(section: Mapping[str, Any], bos: tuple[int, ...]) -> _Frame:
    prefix = section.get("prefix_ids", bos if section.get("add_bos") else ())
    return _Frame(_ids(prefix, "prefix_ids"), _ids(section.get("suffix_ids", ()), "suffix_ids"), bos)


def _ids(value: Any, name: str) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, int) for item in value):
        raise CorruptBundleError(f"model.json: tokenizer.{name} is no list of token ids")
    return tuple(value)


def _added_tokens(listed: Any) -> dict[int, AddedToken]:
    try:
        return {int(item["id"]): AddedToken(**{k: v for k, v in item.items() if k != "id"}) for item in listed}
    except (TypeError, ValueError, KeyError) as error:
        raise CorruptBundleError(f"model.json: tokenizer.added_tokens cannot be read: {error}") from error


def _control_pieces(data: bytes) -> dict[int, AddedToken]:
    """For bundles from before added tokens were listed: the model's own control pieces."""
    native = _load_sentencepiece(data)
    ids = range(int(native.vocab_size()))
    return {i: AddedToken(str(native.id_to_piece(i)), special=True) for i in ids if native.is_control(i)}


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
