"""tokenizer.model: SentencePiece's own protobuf, checked with its library, extended and taken apart for vocab.bin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sentencepiece

from skywork_rt.bundle.added_token import AddedToken, SpacePrefix
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles, VocabularyEntry
from skywork_rt.checkpoints.tokenizers.vocabulary import sentencepiece_entry
from skywork_rt.errors import CheckpointError, UnsupportedError
from skywork_rt.support.mindspore_import import choose_protobuf

choose_protobuf()
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]  # noqa: E402
from sentencepiece import sentencepiece_model_pb2  # noqa: E402

schema: Any = sentencepiece_model_pb2  # generated code without types

__all__ = [
    "Piece",
    "PieceType",
    "build_model",
    "parse_model",
    "sentencepiece_files",
    "user_defined_pieces",
]


class PieceType:
    """The values of SentencePiece's ModelProto.SentencePiece.Type, which GGUF's token types share."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Piece:
    """One piece of a model; the higher its score the earlier BPE merges it."""

    text: str
    score: float
    type: int


def build_model(pieces: Sequence[Piece], *, unk_id: int, add_dummy_prefix: bool) -> bytes:
    """A BPE model as Llama's: no normalisation, spaces kept as U+2581, bytes as fallback when `pieces` has them.

    It names no begin, end or padding: who builds it keeps these ids.
    """
    proto = schema.ModelProto()
    for piece in pieces:
        proto.pieces.add(piece=piece.text, score=piece.score, type=piece.type)
    trainer = proto.trainer_spec
    trainer.model_type = schema.TrainerSpec.BPE
    trainer.vocab_size = len(pieces)
    trainer.byte_fallback = any(piece.type == PieceType.BYTE for piece in pieces)
    trainer.unk_id = unk_id
    trainer.unk_piece = pieces[unk_id].text
    trainer.bos_id = trainer.eos_id = trainer.pad_id = -1
    normalizer = proto.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = add_dummy_prefix
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    content: bytes = proto.SerializeToString()
    return content


def sentencepiece_files(
    content: bytes,
    *,
    where: str = "tokenizer.model",
    added: Mapping[int, AddedToken] | None = None,
    space_prefix: SpacePrefix = "always",
) -> TokenizerFiles:
    """Checks tokenizer.model and lists what its ids stand for; special ids are the model's own.

    `added`: tokens beside the model's, or in place of its pieces. Raises CheckpointError for a file that the library
    rejects, UnsupportedError for a model of words or characters.
    """
    proto = parse_model(content, where)
    if proto.trainer_spec.model_type not in (schema.TrainerSpec.BPE, schema.TrainerSpec.UNIGRAM):
        raise UnsupportedError(f"{where} is a model of words or characters; supported are BPE and unigram")
    processor = _load(content, where)
    bos, eos, pad = processor.bos_id(), processor.eos_id(), processor.pad_id()
    dummy_prefix = bool(proto.normalizer_spec.add_dummy_prefix)
    return TokenizerFiles(
        kind="sentencepiece",
        content=content,
        entries=_with_added(_entries(proto), added or {}),
        byte_level=False,
        prefix_ids=(bos,) if bos >= 0 else (),
        strip_first_space=dummy_prefix,
        strip_leading_spaces=bool(proto.normalizer_spec.remove_extra_whitespaces),
        added=_whole_pieces(proto) | dict(added or {}),
        space_prefix=space_prefix if dummy_prefix else "never",
        bos_id=bos if bos >= 0 else None,
        pad_id=pad if pad >= 0 else None,
        eos_ids=(eos,) if eos >= 0 else (),
    )


def _with_added(entries: Sequence[VocabularyEntry], added: Mapping[int, AddedToken]) -> list[VocabularyEntry]:
    """The vocabulary with added tokens in it; ids that nobody has stand for nothing."""
    extended = list(entries)
    extended += [VocabularyEntry(b"", unused=True)] * (max(added, default=-1) + 1 - len(extended))
    for index, token in added.items():
        extended[index] = sentencepiece_entry(token.content, special=token.special, byte_fallback=False)
    return extended


def _entries(proto: Any) -> list[VocabularyEntry]:
    fallback = bool(proto.trainer_spec.byte_fallback)
    return [
        sentencepiece_entry(
            piece.piece,
            special=piece.type in (PieceType.CONTROL, PieceType.UNKNOWN),
            unused=piece.type == PieceType.UNUSED,
            byte_fallback=fallback and piece.type == PieceType.BYTE,
        )
        for piece in proto.pieces
    ]


def _whole_pieces(proto: Any) -> dict[int, AddedToken]:
    """Control pieces and the unknown one are found whole in text, which the library itself would spell out."""
    return {
        index: AddedToken(piece.piece, special=True)
        for index, piece in enumerate(proto.pieces)
        if piece.type in (PieceType.CONTROL, PieceType.UNKNOWN)
    }


def user_defined_pieces(proto: Any) -> dict[int, AddedToken]:
    """Pieces of the user's own, which the library finds inside a text, and transformers cuts the text at."""
    return {
        index: AddedToken(piece.piece)
        for index, piece in enumerate(proto.pieces)
        if piece.type == PieceType.USER_DEFINED
    }


def parse_model(content: bytes, where: str) -> Any:
    """The model's protobuf. Raises CheckpointError for anything else."""
    proto = schema.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise CheckpointError(f"{where} is no SentencePiece model: {error}") from error
    if not proto.pieces:
        raise CheckpointError(f"{where} is a SentencePiece model without pieces")
    return proto


def _load(content: bytes, where: str) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(content)
    except (RuntimeError, OSError) as error:
        raise CheckpointError(f"{where} is rejected by sentencepiece: {error}") from error
    return processor
