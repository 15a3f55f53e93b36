"""Documents to ids in several processes, in the documents' order."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skywork_rt.checkpoints.tokenizers.section import tokenizer_section
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.tokenizers.vocabulary import encode_vocabulary
from skywork_rt.errors import CapacityError
from skywork_rt.recipe.prepare.documents import Document
from skywork_rt.recipe.prepare.layouts import TokenDocument
from skywork_rt.text.tokenizer import Tokenizer, make_tokenizer

__all__ = ["Framing", "tokenise", "tokenizer_of"]

_BATCH_DOCUMENTS, _BATCH_CHARACTERS = 512, 1 << 20
_BATCHES_A_WORKER = 2
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Framing:
    """What stands around the ids of a document, and what of it is trained.

    `bos_alone`: begin with the bos id and nothing else, whatever the tokenizer's own configuration is (the recipe).
    `eos_id`: ends every document that does not end so already; None: nothing is added. `mask_prompt`: train the last
    field of a document only.
    """

    bos_alone: bool
    eos_id: int | None
    mask_prompt: bool


@dataclass(frozen=True)
class _Batch:
    """Token documents in three arrays, which cross processes faster than a thousand objects."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    trained_from: NDArray[np.int64]

    def documents(self) -> Iterator[TokenDocument]:
        ends = np.cumsum(self.lengths)
        for end, length, trained in zip(ends, self.lengths, self.trained_from, strict=True):
            yield TokenDocument(self.ids[end - length : end], int(trained))


def tokenizer_of(files: TokenizerFiles) -> Tokenizer:
    """The tokenizer that a bundle of these files would have."""
    from skywork_rt._core import Vocabulary

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vocab.bin"
        path.write_bytes(encode_vocabulary(files, max(1, len(files.entries))))
        return make_tokenizer(tokenizer_section(files), files.content, Vocabulary(str(path)), files.bos_id)


def tokenise(
    documents: Iterable[Document], files: TokenizerFiles, framing: Framing, workers: int
) -> Iterator[TokenDocument]:
    """The documents' ids in their order, with at most two batches a worker under way, so that memory stays bounded.

    One worker means this process. Raises CapacityError when a worker dies.
    """
    batches = _batches(documents)
    if workers == 1:
        here = _Worker(files, framing)
        for batch in batches:
            yield from here.encode(batch).documents()
        return
    # A fresh process, not a fork: this one may have threads, whose locks a fork would leave locked.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (files, framing, os.getpid()))
    try:
        for result in _ordered(pool, batches, workers * _BATCHES_A_WORKER):
            yield from result.documents()
    except BrokenProcessPool as error:
        raise CapacityError(
            "a worker process ended before its work was done, which most often means that memory ran out; "
            "try fewer (--workers)"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ordered(pool: ProcessPoolExecutor, batches: Iterator[list[Document]], most: int) -> Iterator[_Batch]:
    waiting: deque[Future[_Batch]] = deque()
    for batch in batches:
        waiting.append(pool.submit(_encode_in_worker, batch))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += sum(map(len, document.fields))
        if len(batch) == _BATCH_DOCUMENTS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Worker:
    """A tokenizer and what stands around a document."""

    def __init__(self, files: TokenizerFiles, framing: Framing) -> None:
        self._tokenizer = tokenizer_of(files)
        self._framing = framing

    def encode(self, batch: list[Document]) -> _Batch:
        encoded = [self._encode(document) for document in batch]
        return _Batch(
            np.concatenate([np.asarray(ids, np.int32) for ids, _ in encoded]),
            np.array([len(ids) for ids, _ in encoded], np.int64),
            np.array([trained for _, trained in encoded], np.int64),
        )

    def _encode(self, document: Document) -> tuple[list[int], int]:
        ids = self._frame(document.text)
        trained = self._prompt_length(document, ids) if self._framing.mask_prompt else 0
        if self._framing.eos_id is not None and ids[-1:] != [self._framing.eos_id]:
            ids.append(self._framing.eos_id)
        return ids, trained

    def _frame(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=True if self._framing.bos_alone else None)

    def _prompt_length(self, document: Document, ids: list[int]) -> int:
        """How many ids are those of the prompt alone: a token that reaches into the last field belongs to it."""
        prompt = self._frame(document.prompt)
        equal = (at for at, (a, b) in enumerate(zip(prompt, ids, strict=False)) if a != b)
        return next(equal, min(len(prompt), len(ids)))


_worker: _Worker | None = None


def _begin_worker(files: TokenizerFiles, framing: Framing, parent: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # and when it is killed, nobody else does
    if os.getppid() != parent:
        os._exit(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the threads
    _worker = _Worker(files, framing)


def _encode_in_worker(batch: list[Document]) -> _Batch:
    assert _worker is not None
    return _worker.encode(batch)
