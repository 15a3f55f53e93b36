"""Streamers: objects whose `put` takes ids as they come. `TextStreamer` prints, `TextIteratorStreamer` is iterated
over.

Signatures as in MindFormers. Text comes out as soon as it is certain, in whole characters: what more ids may change, a
byte of a character or a space at an end, is held back.
"""

from __future__ import annotations

import queue
from typing import Any

import numpy as np

from skywork_rt.errors import InvalidArgumentError

__all__ = ["BaseStreamer", "TextIteratorStreamer", "TextStreamer"]

_UNFINISHED = "\ufffd"


class BaseStreamer:
    """What `generate` and `infer` call: put(ids of the prompt), put(one new id) again and again, end()."""

    def put(self, value: Any) -> None:
        """Takes ids."""
        raise NotImplementedError

    def end(self) -> None:
        """Nothing more comes."""
        raise NotImplementedError


class TextStreamer(BaseStreamer):
    """Prints text as ids come.

    skip_prompt: leave out the first put, which is the prompt. decode_kwargs go to the tokenizer's decode. With a batch
    the line of all texts is printed anew after each step, as in MindFormers.
    """

    _prompt_is_next: bool
    _ids: list[int]
    _rows_of_batch: list[list[int]]
    _printed: int

    def __init__(
        self,
        tokenizer: Any = None,
        skip_prompt: bool = False,
        skip_special_tokens: bool = True,
        **decode_kwargs: Any,
    ) -> None:
        if tokenizer is None:
            raise InvalidArgumentError(f"{type(self).__name__}: tokenizer is None, but its decode() makes the text")
        for name, value in (("skip_prompt", skip_prompt), ("skip_special_tokens", skip_special_tokens)):
            if not isinstance(value, bool):
                raise InvalidArgumentError(f"{type(self).__name__}: {name} is {value!r}, but must be True or False")
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.skip_special_tokens = skip_special_tokens
        self.decode_kwargs = decode_kwargs
        self._reset()

    def put(self, value: Any) -> None:
        """One id; the ids of one sequence; or a list of them, a sequence each: of a batch, the new ids of each row."""
        if self.skip_prompt and self._prompt_is_next:
            self._prompt_is_next = False
            return
        self._prompt_is_next = False
        rows = _rows(value)
        if len(rows) > 1 or self._rows_of_batch:
            self._put_batch(rows)
            return
        self._ids += rows[0]
        text = self._decode(self._ids)
        certain = text.rstrip(_UNFINISHED)
        if certain != text and len(text) - len(certain) > 3:  # no character has more than four bytes: these are wrong
            certain = text
        self.on_finalized_text(certain[self._printed :])
        self._printed = max(self._printed, len(certain))

    def end(self) -> None:
        """Prints what was held back, and ends the line."""
        rest = "" if self._rows_of_batch else self._decode(self._ids)[self._printed :]
        self.on_finalized_text(rest, stream_end=True)
        self._reset()

    def on_finalized_text(self, text: Any, stream_end: bool = False) -> None:
        """Prints a piece of text (of a batch: the list of all texts so far)."""
        if isinstance(text, list):
            print(f"\r{text}", end="", flush=True)
        else:
            print(text, end="\n" if stream_end else "", flush=True)

    def _put_batch(self, rows: list[list[int]]) -> None:
        if not self._rows_of_batch:
            self._rows_of_batch = [[] for _ in rows]
        for all_of_row, new in zip(self._rows_of_batch, rows, strict=True):
            all_of_row += new
        self.on_finalized_text([self._decode(ids) for ids in self._rows_of_batch])

    def _decode(self, ids: list[int]) -> str:
        if not ids:
            return ""
        return str(self.tokenizer.decode(ids, skip_special_tokens=self.skip_special_tokens, **self.decode_kwargs))

    def _reset(self) -> None:
        self._prompt_is_next = True
        self._ids = []
        self._rows_of_batch = []
        self._printed = 0


class TextIteratorStreamer(TextStreamer):
    """Text pieces to iterate over, while `generate` runs in another thread.

    timeout: seconds that a piece may take; then TimeoutError is raised. None waits without end. Of a batch a piece is
    the list of all texts so far.
    """

    def __init__(
        self, tokenizer: Any = None, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any
    ) -> None:
        self.text_queue: queue.Queue[Any] = queue.Queue()
        self.timeout = timeout
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)

    def on_finalized_text(self, text: Any, stream_end: bool = False) -> None:
        if text:
            self.text_queue.put(text)
        if stream_end:
            self.text_queue.put(None)

    def clear(self) -> None:
        """Drops what nobody has taken yet."""
        while not self.text_queue.empty():
            self.text_queue.get()

    def __iter__(self) -> TextIteratorStreamer:
        return self

    def __next__(self) -> Any:
        try:
            piece = self.text_queue.get(timeout=self.timeout)
        except queue.Empty:
            raise TimeoutError(f"TextIteratorStreamer: no text came within {self.timeout} s") from None
        if piece is None:
            raise StopIteration
        return piece


def _rows(value: Any) -> list[list[int]]:
    try:
        array = np.asarray(value) if not isinstance(value, list) else None
    except ValueError:
        array = None
    if array is not None:
        value = array.tolist()
    if isinstance(value, int):
        return [[value]]
    if isinstance(value, list) and all(isinstance(item, list) for item in value) and value:
        return [[int(token) for token in row] for row in value]
    if isinstance(value, list) and all(isinstance(item, int | np.integer) for item in value):
        return [[int(token) for token in value]]
    raise InvalidArgumentError(f"TextStreamer: put() takes an id, ids or lists of ids, not {type(value).__name__}")
