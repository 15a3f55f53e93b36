"""How documents of tokens become records of one length.

MindFormers reads a record of seq_length + 1 ids and trains position i to give id i + 1; a label of -100 is not trained
(`LlamaForCausalLM.construct` of MindFormers 1.8.0). A layout takes documents one after the other and gives records as
they fill up, so that it holds one record, or in the recipe's layout a thousand documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORED", "LAYOUTS", "Layout", "Record", "TokenDocument", "make_layout"]

IGNORED = -100
"""The label that is not trained: MindFormers' `ignore_token_id`."""

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class TokenDocument:
    """Ids of a document, and the index of the first that is trained."""

    ids: Ids
    trained_from: int = 0


@dataclass(frozen=True)
class Record:
    """Both int32 [seq_length + 1]."""

    input_ids: Ids
    labels: Ids


class Layout(Protocol):
    """Takes documents in order; `finish` is called once, after the last."""

    dropped: int
    """Tokens that are in no record."""

    def add(self, document: TokenDocument) -> Iterator[Record]: ...

    def finish(self) -> Iterator[Record]: ...


class _Packed:
    """One stream of all documents, cut every seq_length tokens; the rest is padded.

    Records overlap by one token: the last target of one is the first input of the next, so that every token but the
    stream's first is a target once.
    """

    def __init__(self, seq_length: int, pad_id: int) -> None:
        self._step = seq_length
        self._pad_id = pad_id
        self._ids = np.empty(0, np.int32)
        self._labels = np.empty(0, np.int32)
        self.dropped = 0

    def add(self, document: TokenDocument) -> Iterator[Record]:
        labels = document.ids.copy()
        labels[: document.trained_from] = IGNORED
        self._ids = np.concatenate([self._ids, document.ids])
        self._labels = np.concatenate([self._labels, labels])
        size, begin = self._step + 1, 0
        while len(self._ids) - begin >= size:
            yield Record(self._ids[begin : begin + size], self._labels[begin : begin + size])
            begin += self._step
        self._ids, self._labels = self._ids[begin:].copy(), self._labels[begin:].copy()

    def finish(self) -> Iterator[Record]:
        left = len(self._ids)
        if left > 1:  # a token alone was the last target already
            padding = self._step + 1 - left
            yield Record(
                np.concatenate([self._ids, np.full(padding, self._pad_id, np.int32)]),
                np.concatenate([self._labels, np.full(padding, IGNORED, np.int32)]),
            )
        self._ids = self._labels = np.empty(0, np.int32)


class _Separate:
    """Each document begins a record of its own and is padded; a longer one goes on in further records."""

    def __init__(self, seq_length: int, pad_id: int) -> None:
        self._seq_length, self._pad_id = seq_length, pad_id
        self.dropped = 0

    def add(self, document: TokenDocument) -> Iterator[Record]:
        one = _Packed(self._seq_length, self._pad_id)
        yield from one.add(document)
        yield from one.finish()

    def finish(self) -> Iterator[Record]:
        return iter(())


class _Recipe:
    """The records of MindFormers' `skywork_dataprocess.py`, token by token.

    A thousand documents are joined and cut every seq_length tokens, what is left of them is dropped, and each record is
    seq_length tokens and one pad id, which is trained like the others.
    """

    _DOCUMENTS = 1000

    def __init__(self, seq_length: int, pad_id: int) -> None:
        self._seq_length = seq_length
        self._pad = np.array([pad_id], np.int32)
        self._held: list[Ids] = []
        self.dropped = 0

    def add(self, document: TokenDocument) -> Iterator[Record]:
        self._held.append(document.ids)
        if len(self._held) == self._DOCUMENTS:
            yield from self.finish()

    def finish(self) -> Iterator[Record]:
        ids = np.concatenate(self._held) if self._held else np.empty(0, np.int32)
        self._held = []
        whole = len(ids) // self._seq_length
        self.dropped += len(ids) - whole * self._seq_length
        for block in ids[: whole * self._seq_length].reshape(whole, self._seq_length):
            record = np.concatenate([block, self._pad])
            yield Record(record, record)


LAYOUTS: dict[str, Callable[[int, int], Layout]] = {"packed": _Packed, "document": _Separate, "recipe": _Recipe}
"""By name: all documents in one stream, a document a record, and exactly as the recipe that this replaces."""


def make_layout(name: str, seq_length: int, pad_id: int) -> Layout:
    """The layout of `LAYOUTS` with that name."""
    return LAYOUTS[name](seq_length, pad_id)
