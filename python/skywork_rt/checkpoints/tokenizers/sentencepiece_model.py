"""tokenizer.model: SentencePiece's own protobuf, checked with its library, extended and taken apart for vocab.bin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sentencepiece
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from sentencepiece import sentencepiece_model_pb2

from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.tokenizers.vocabulary import sentencepiece_entry
from skywork_rt.errors import CheckpointError, UnsupportedError

schema: Any = sentencepiece_model_pb2  # generated code without types

__all__ = ["Piece", "PieceType", "build_model", "sentencepiece_files", "with_added_tokens"]


class PieceType:
    """The values of SentencePiece's ModelProto.SentencePiece.Type, which GGUF's token types share."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Piece:
    """One piece of a model; the higher its score the earlier BPE merges it."""

    text: str
    score: float
    type: int


def build_model(
    pieces: Sequence[Piece],
    *,
    unk_id: int,
    bos_id: int | None,
    eos_id: int | None,
    pad_id: int | None,
    add_dummy_prefix: bool,
) -> bytes:
    """A BPE model as Llama's: no normalisation, spaces kept as U+2581, bytes as fallback when `pieces` has them."""
    proto = schema.ModelProto()
    for piece in pieces:
        proto.pieces.add(piece=piece.text, score=piece.score, type=piece.type)
    trainer = proto.trainer_spec
    trainer.model_type = schema.TrainerSpec.BPE
    trainer.vocab_size = len(pieces)
    trainer.byte_fallback = any(piece.type == PieceType.BYTE for piece in pieces)
    trainer.unk_id = unk_id
    trainer.bos_id = -1 if bos_id is None else bos_id
    trainer.eos_id = -1 if eos_id is None else eos_id
    trainer.pad_id = -1 if pad_id is None else pad_id
    for name, index in (("unk_piece", unk_id), ("bos_piece", bos_id), ("eos_piece", eos_id), ("pad_piece", pad_id)):
        if index is not None:
            setattr(trainer, name, pieces[index].text)
    normalizer = proto.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = add_dummy_prefix
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    content: bytes = proto.SerializeToString()
    return content


def with_added_tokens(content: bytes, added: Mapping[int, tuple[str, bool]], where: str) -> bytes:
    """The model with tokens that a Hugging Face directory adds: id to (text, special).

    An id that the model already has is left alone (its piece is the same token); ids between the last piece and an
    added one become unused pieces.
    """
    proto = _parse(content, where)
    count = len(proto.pieces)
    known = {piece.piece for piece in proto.pieces}
    for index in sorted(added):
        text, special = added[index]
        if index < count or text in known:
            continue
        while len(proto.pieces) < index:
            proto.pieces.add(piece=f"<unused_{len(proto.pieces)}>", score=0.0, type=PieceType.UNUSED)
        proto.pieces.add(piece=text, score=0.0, type=PieceType.CONTROL if special else PieceType.USER_DEFINED)
    proto.trainer_spec.vocab_size = len(proto.pieces)
    extended: bytes = proto.SerializeToString()
    return extended


def sentencepiece_files(
    content: bytes,
    *,
    where: str = "tokenizer.model",
    add_bos: bool = True,
    chat_template: str | None = None,
    bos_id: int | None = None,
    pad_id: int | None = None,
    eos_ids: tuple[int, ...] = (),
) -> TokenizerFiles:
    """Checks tokenizer.model and lists what its ids stand for. None for `bos_id` and no `eos_ids`: the model's own.

    Raises CheckpointError for a file that the library rejects, UnsupportedError for a model of words or characters.
    """
    proto = _parse(content, where)
    if proto.trainer_spec.model_type not in (schema.TrainerSpec.BPE, schema.TrainerSpec.UNIGRAM):
        raise UnsupportedError(f"{where} is a model of words or characters; supported are BPE and unigram")
    processor = _load(content, where)
    fallback = bool(proto.trainer_spec.byte_fallback)
    entries = [
        sentencepiece_entry(
            piece.piece,
            special=piece.type in (PieceType.CONTROL, PieceType.UNKNOWN),
            unused=piece.type == PieceType.UNUSED,
            byte_fallback=fallback and piece.type == PieceType.BYTE,
        )
        for piece in proto.pieces
    ]
    own_bos, own_eos, own_pad = processor.bos_id(), processor.eos_id(), processor.pad_id()
    return TokenizerFiles(
        kind="sentencepiece",
        content=content,
        entries=entries,
        byte_level=False,
        add_bos=add_bos,
        strip_first_space=bool(proto.normalizer_spec.add_dummy_prefix),
        strip_leading_spaces=bool(proto.normalizer_spec.remove_extra_whitespaces),
        chat_template=chat_template,
        bos_id=own_bos if bos_id is None and own_bos >= 0 else bos_id,
        pad_id=own_pad if pad_id is None and own_pad >= 0 else pad_id,
        eos_ids=eos_ids or ((own_eos,) if own_eos >= 0 else ()),
    )


def _parse(content: bytes, where: str) -> Any:
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
