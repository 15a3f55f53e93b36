"""LlamaTokenizer: SentencePiece with the special tokens and the calling conventions of MindFormers.

What it gives is compared with MindFormers 1.8.0's own in tests/python/compat.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skywork_rt.compat.mindformers.models.llama.batching import BatchEncoding, make_batch
from skywork_rt.compat.notices import ignored
from skywork_rt.errors import CheckpointError, InvalidArgumentError
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["LlamaTokenizer"]

_SPACE = "\u2581"
_VERY_LARGE = int(1e30)
_CALL = ("padding", "truncation", "max_length", "return_tensors", "return_attention_mask", "return_token_type_ids",
         "pad_to_multiple_of", "stride", "verbose", "is_split_into_words", "return_length")  # fmt: skip
_KNOWN = ("padding_side", "truncation_side", "model_max_length", "additional_special_tokens", "name_or_path", "type",
          "tokenizer_class", "auto_register", "use_fast", "fast_tokenizer", "tokenizer_type")  # fmt: skip


class LlamaTokenizer:
    """A tokenizer.model, called as MindFormers' is.

    Text is cut at special tokens that are written in it; each part between them begins with SentencePiece's space. A
    call adds bos unless add_bos_token or add_special_tokens is False, and eos with add_eos_token. Padding and
    truncation are at the right. Raises CheckpointError for a file that is none, InvalidArgumentError for wrong
    arguments.
    """

    def __init__(
        self,
        vocab_file: str,
        unk_token: str = "<unk>",
        bos_token: str = "<s>",
        eos_token: str = "</s>",
        pad_token: str = "<unk>",
        sp_model_kwargs: dict[str, Any] | None = None,
        add_bos_token: bool = True,
        add_eos_token: bool = False,
        clean_up_tokenization_spaces: bool = False,
        legacy: bool = True,
        **kwargs: Any,
    ) -> None:
        refuse_unknown("LlamaTokenizer", kwargs, _KNOWN)
        self.vocab_file = str(vocab_file)
        self.sp_model = _load(Path(vocab_file), sp_model_kwargs or {})
        self.unk_token, self.bos_token = str(unk_token), str(bos_token)
        self.eos_token, self.pad_token = str(eos_token), str(pad_token)
        self.add_bos_token, self.add_eos_token = bool(add_bos_token), bool(add_eos_token)
        self.clean_up_tokenization_spaces = bool(clean_up_tokenization_spaces)
        self._made_of: list[str] | None = None
        self._made: tuple[dict[str, int], re.Pattern[str]] = {}, re.compile("")
        self.padding_side = _side("padding_side", kwargs)
        self.truncation_side = _side("truncation_side", kwargs)
        self.model_max_length = int(kwargs.get("model_max_length") or _VERY_LARGE)
        self.additional_special_tokens = [str(token) for token in kwargs.get("additional_special_tokens") or ()]
        if not legacy:
            ignored("LlamaTokenizer", "legacy=False", "text is cut as MindFormers' default does it")

    @classmethod
    def from_pretrained(cls, name_or_path: str, **kwargs: Any) -> LlamaTokenizer:
        """Of a tokenizer.model, or of a directory that has one. Nothing is downloaded by name."""
        path = Path(name_or_path)
        if not path.exists():
            raise InvalidArgumentError(
                f"LlamaTokenizer.from_pretrained: {name_or_path} does not exist; nothing is downloaded by name: give a "
                "tokenizer.model or its directory"
            )
        return cls(str(path / "tokenizer.model" if path.is_dir() else path), **kwargs)

    # Vocabulary.

    @property
    def vocab_size(self) -> int:
        """Pieces of the model, without tokens that were added to it."""
        return int(self.sp_model.vocab_size())

    def __len__(self) -> int:
        return self.vocab_size + len(self._added)

    @property
    def all_special_tokens(self) -> list[str]:
        """Each once: bos, eos, unk, pad, then the additional ones."""
        named = [self.bos_token, self.eos_token, self.unk_token, self.pad_token, *self.additional_special_tokens]
        return list(dict.fromkeys(named))

    @property
    def all_special_ids(self) -> list[int]:
        return [self._id_of(token) for token in self.all_special_tokens]

    @property
    def bos_token_id(self) -> int:
        return self._id_of(self.bos_token)

    @property
    def eos_token_id(self) -> int:
        return self._id_of(self.eos_token)

    @property
    def pad_token_id(self) -> int:
        return self._id_of(self.pad_token)

    @property
    def unk_token_id(self) -> int:
        return self._id_of(self.unk_token)

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id."""
        pieces = {str(self.sp_model.id_to_piece(i)): i for i in range(self.vocab_size)}
        return {**pieces, **self._added}

    # Text to ids.

    def __call__(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        add_special_tokens: bool = True,
        **options: Any,
    ) -> BatchEncoding:
        """input_ids and attention_mask: lists for one text, lists of lists for several.

        padding: True or "longest", "max_length", False; truncation: True, False; max_length counts special tokens too;
        return_tensors: None, "np" (int32 arrays) or "ms" (MindSpore's tensors).
        """
        refuse_unknown("LlamaTokenizer()", options, _CALL)
        if text_pair is not None:
            raise InvalidArgumentError(
                "LlamaTokenizer(): pairs of texts are not for a causal model; join both into text"
            )
        single = isinstance(text, str)
        texts = [text] if isinstance(text, str) else list(text)
        for item in texts:
            if not isinstance(item, str):
                raise InvalidArgumentError(f"LlamaTokenizer(): a text is a {type(item).__name__}; give str")
        frame = (self._begin, self._end) if add_special_tokens else ([], [])
        rows = [self.convert_tokens_to_ids(self.tokenize(item)) for item in texts]
        return make_batch(self, rows, frame, single=single, **options)

    def encode(self, text: str, add_special_tokens: bool = True, **options: Any) -> list[int]:
        """The ids of one text."""
        ids: list[int] = self(text, add_special_tokens=add_special_tokens, **options)["input_ids"]
        return ids

    def tokenize(self, text: str, **_options: Any) -> list[str]:
        """The pieces of a text, without bos and eos."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(
                f"LlamaTokenizer: the text has a lone surrogate at index {error.start}"
            ) from error
        tokens: list[str] = []
        special = set(self.all_special_tokens)
        for part in filter(None, self._splitter.split(text)):
            tokens += [part] if part in special else self.sp_model.encode(part, out_type=str)
        return tokens

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """An id, or a list of them; what is no token is unk."""
        return self._id_of(tokens) if isinstance(tokens, str) else [self._id_of(token) for token in tokens]

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """With bos before and eos behind, as configured."""
        ids = [*self._begin, *token_ids_0, *self._end]
        return ids if token_ids_1 is None else [*ids, *self._begin, *token_ids_1, *self._end]

    # Ids to text.

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **_options: Any,
    ) -> Any:
        """The text of ids; a list of texts for lists of ids."""
        if hasattr(token_ids, "asnumpy"):
            token_ids = token_ids.asnumpy()
        if hasattr(token_ids, "tolist"):
            token_ids = token_ids.tolist()
        if isinstance(token_ids, int):
            token_ids = [token_ids]
        if len(token_ids) and hasattr(token_ids[0], "__len__"):
            return [self._text(row, skip_special_tokens) for row in token_ids]
        return self._text(token_ids, skip_special_tokens)

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **options: Any) -> list[str]:
        """The text of each list of ids."""
        return [self.decode(row, skip_special_tokens, **options) for row in sequences]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """A token, or a list of them."""
        if isinstance(ids, int):
            return self._token_of(ids)
        special = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token_of(int(token)) for token in ids if int(token) not in special]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of tokens: special ones as they are, with a space before the first of a run that follows text."""
        tokens = list(tokens)
        if tokens and tokens[0].startswith(_SPACE):
            tokens[0] = tokens[0][1:]
        special = set(self.all_special_tokens)
        text, run = "", list[str]()
        for index, token in enumerate(tokens):
            if token not in special:
                run.append(token)
                continue
            if index and tokens[index - 1] not in special:
                text += " "
            text += str(self.sp_model.decode(run)) + token
            run = []
        return text + str(self.sp_model.decode(run))

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Copies tokenizer.model into a directory, and returns its path there."""
        folder = Path(save_directory)
        if not folder.is_dir():
            raise InvalidArgumentError(f"save_vocabulary: {folder} is no directory; make it first")
        target = folder / f"{filename_prefix + '-' if filename_prefix else ''}tokenizer.model"
        if target.absolute() != Path(self.vocab_file).absolute():
            beside = target.with_name(f".{target.name}.partial")
            shutil.copyfile(self.vocab_file, beside)
            beside.replace(target)
        return (str(target),)

    # Helpers.

    @property
    def _begin(self) -> list[int]:
        return [self.bos_token_id] if self.add_bos_token else []

    @property
    def _end(self) -> list[int]:
        return [self.eos_token_id] if self.add_eos_token else []

    @property
    def _added(self) -> dict[str, int]:
        """Special tokens that the model has no piece for, numbered behind its pieces."""
        return self._special[0]

    @property
    def _splitter(self) -> re.Pattern[str]:
        return self._special[1]

    @property
    def _special(self) -> tuple[dict[str, int], re.Pattern[str]]:
        """Both follow from the special tokens, which may be set anew at any time."""
        tokens = self.all_special_tokens
        if self._made_of != tokens:
            missing = [token for token in tokens if self.sp_model.piece_to_id(token) == self._unknown(token)]
            added = {token: self.vocab_size + place for place, token in enumerate(missing)}
            longest_first = sorted(tokens, key=len, reverse=True)
            self._made = added, re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
            self._made_of = tokens
        return self._made

    def _unknown(self, token: str) -> int:
        """What piece_to_id gives for a token that is not there; the unknown piece itself is."""
        unk = int(self.sp_model.unk_id())
        return -1 if str(self.sp_model.id_to_piece(unk)) == token else unk

    def _id_of(self, token: str) -> int:
        return self._added[token] if token in self._added else int(self.sp_model.piece_to_id(token))

    def _token_of(self, token_id: int) -> str:
        if 0 <= token_id < self.vocab_size:
            return str(self.sp_model.id_to_piece(token_id))
        for token, number in self._added.items():
            if number == token_id:
                return token
        raise InvalidArgumentError(f"LlamaTokenizer: token id {token_id} is outside [0, {len(self)})")

    def _text(self, ids: Sequence[Any], skip_special_tokens: bool) -> str:
        return self.convert_tokens_to_string(self.convert_ids_to_tokens([int(i) for i in ids], skip_special_tokens))


def _load(path: Path, options: dict[str, Any]) -> Any:
    import sentencepiece

    if not path.is_file():
        raise CheckpointError(f"LlamaTokenizer: {path} does not exist or is no file; give the path of tokenizer.model")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path), **options)
    except Exception as error:  # the library raises RuntimeError, TypeError or OSError
        raise CheckpointError(f"LlamaTokenizer: {path} is no SentencePiece model: {str(error)[:200]}") from error


def _side(name: str, options: dict[str, Any]) -> str:
    side = options.get(name) or "right"
    if side not in ("left", "right"):
        raise InvalidArgumentError(f"LlamaTokenizer: {name} is {side!r}, but must be left or right")
    return str(side)
