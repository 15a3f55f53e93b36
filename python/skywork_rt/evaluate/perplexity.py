"""Perplexity of a text in overlapping windows, as transformers' guide to perplexity measures it.

A window begins every `stride` tokens; of each, the tokens that no window before it had are scored, with all that stands
before them in the window. The first token of a text has nothing before it and is not scored, unless the tokenizer puts
a bos there. Every other token counts once (the guide's loop weights windows by one token less than they score).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skywork_rt.api.generator import Generator
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.evaluate.text_tokens import stream_ids
from skywork_rt.support.stages import Progress, no_progress
from skywork_rt.text.tokenizer import Tokenizer

__all__ = ["Perplexity", "measure_perplexity"]

_BLOCK = 1 << 18  # bytes of a text that are read at once
_LONGEST_LINE = 64 << 20  # bytes of a line of JSON
_SHARE = 16  # windows that are scored together
_LN2 = math.log(2)


@dataclass(frozen=True)
class Perplexity:
    """Sums over all documents, and what follows from them."""

    documents: int
    windows: int
    tokens: int
    """Scored ones."""
    bytes: int
    """UTF-8 bytes of the text that the scored tokens spell."""
    nll: float
    """Negative log-likelihood of the scored tokens, natural logarithm."""

    @property
    def per_token(self) -> float:
        return _exp(self.nll / self.tokens)

    @property
    def per_byte(self) -> float:
        return _exp(self.nll / self.bytes)

    @property
    def bits_per_byte(self) -> float:
        return self.nll / self.bytes / _LN2

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "token_perplexity": self.per_token,
            "byte_perplexity": self.per_byte,
            "bits_per_byte": self.bits_per_byte,
        }


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class _Window:
    """Ids of a window, of which those from `scored_from` on are scored, if any."""

    ids: list[int]
    scored_from: int
    unscored: int | None
    """Its first id, when no window scores that: nothing stands before it."""


def measure_perplexity(
    generator: Generator,
    file: Path,
    *,
    window: int | None = None,
    stride: int | None = None,
    kind: str = "auto",
    field: str = "text",
    tokenizer: Tokenizer | None = None,
    progress: Progress = no_progress,
) -> Perplexity:
    """Of a text file, or of the texts of a JSON-lines file, each by itself (`kind`: text, jsonl, or auto by the name).

    window: tokens; None: as many as the model takes. stride: tokens; None: half a window. field: of the JSON objects.
    The file is never held as a whole. Raises InvalidArgumentError, UnsupportedError for a model without a tokenizer.
    """
    chosen = tokenizer or generator.tokenizer
    if chosen is None:
        raise UnsupportedError("the model has no tokenizer: name one with --tokenizer, or export the bundle with it")
    longest = generator.max_length - 1  # one more is produced behind it
    size = longest if window is None else window
    step = max(1, size // 2) if stride is None else stride
    _check_sizes(size, step, longest)
    measuring = _Measuring(generator, chosen, size, step)
    total = file.stat().st_size if file.is_file() else 0
    for document in _documents(file, kind, field, lambda read: progress("reading", read, max(total, 1))):
        measuring.add(document)
    measuring.flush()
    progress("reading", max(total, 1), max(total, 1))
    return measuring.result(file)


def _check_sizes(window: int, stride: int, longest: int) -> None:
    if not 2 <= window <= longest:
        raise InvalidArgumentError(
            f"window is {window}, but must be 2 to {longest}, the model's length less one; --max-length sets that"
        )
    if not 1 <= stride <= window:
        raise InvalidArgumentError(
            f"stride is {stride}, but must be 1 to {window}, the window: tokens would be left out"
        )


class _Measuring:
    """Adds documents up; a few windows are scored together."""

    def __init__(self, generator: Generator, tokenizer: Tokenizer, window: int, stride: int) -> None:
        self._generator = generator
        self._tokenizer = tokenizer
        self._window = window
        self._stride = stride
        self._waiting: list[_Window] = []
        self._documents = self._windows = self._tokens = self._bytes = 0
        self._nll = 0.0

    def add(self, blocks: Iterable[str]) -> None:
        before = self._bytes
        for window in _windows(stream_ids(self._counted(blocks), self._tokenizer), self._window, self._stride):
            if window.unscored is not None:
                self._bytes -= self._bytes_of(window.unscored)
            if window.scored_from < len(window.ids):
                self._waiting.append(window)
            if len(self._waiting) == _SHARE:
                self.flush()
        self._documents += self._bytes != before

    def flush(self) -> None:
        if not self._waiting:
            return
        scores = self._generator.score(
            [window.ids[: window.scored_from] for window in self._waiting],
            [window.ids[window.scored_from :] for window in self._waiting],
        )
        self._nll -= sum(sum(score.token_logprobs) for score in scores)
        self._tokens += sum(len(score.token_logprobs) for score in scores)
        self._windows += len(self._waiting)
        self._waiting.clear()

    def result(self, file: Path) -> Perplexity:
        if self._tokens == 0 or self._bytes == 0:
            raise InvalidArgumentError(f"{file} has no text of two tokens or more: nothing can be scored")
        return Perplexity(self._documents, self._windows, self._tokens, self._bytes, self._nll)

    def _counted(self, blocks: Iterable[str]) -> Iterator[str]:
        for block in blocks:
            self._bytes += len(block.encode())
            yield block

    def _bytes_of(self, token: int) -> int:
        """UTF-8 bytes that the unscored first token spells: none for a bos."""
        text = self._tokenizer.decode([token])
        return len(self._tokenizer.token(token)) if "\ufffd" in text else len(text.encode())


def _windows(parts: Iterable[list[int]], window: int, stride: int) -> Iterator[_Window]:
    """At most a window and a part are held."""
    held: list[int] = []
    had = 0  # of `held`, how many tokens earlier windows had
    for part in parts:
        held += part
        while len(held) > window:
            yield _window(held[:window], had)
            del held[:stride]
            had = window - stride
    if len(held) > had:
        yield _window(held, had)


def _window(ids: list[int], had: int) -> _Window:
    """The first window's first token, and that of every one of windows side by side, has nothing before it."""
    return _Window(ids, max(1, had), ids[0] if had == 0 else None)


def _documents(file: Path, kind: str, field: str, read: Callable[[int], None]) -> Iterator[Iterable[str]]:
    if kind not in ("auto", "text", "jsonl"):
        raise InvalidArgumentError(f"format is {kind!r}, but must be text, jsonl or auto")
    if not file.is_file():
        raise InvalidArgumentError(f"{file} is no file; give a text or a JSON-lines file")
    lines = kind == "jsonl" or (kind == "auto" and file.suffix.lower() in (".jsonl", ".json", ".ndjson"))
    if lines:
        yield from _json_documents(file, field, read)
    else:
        yield _text_blocks(file, read)


def _text_blocks(file: Path, read: Callable[[int], None]) -> Iterator[str]:
    with file.open("rb") as opened:
        rest, position = b"", 0
        while block := opened.read(_BLOCK):
            data = rest + block
            text, rest = _decoded(data, f"{file}, byte {position - len(rest)} and on")
            position += len(block)
            yield text
            read(position)
        if rest:
            raise InvalidArgumentError(f"{file} ends within a character: it is cut off, or not UTF-8")


def _decoded(data: bytes, where: str) -> tuple[str, bytes]:
    """The text of whole characters, and the at most three bytes of one that has not ended."""
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(data) - error.start < 4:
            return data[: error.start].decode(), data[error.start :]
        raise InvalidArgumentError(
            f"{where}: byte {data[error.start]:#04x} at {error.start} is not UTF-8: convert the file, for example with "
            "iconv -f GB18030 -t UTF-8"
        ) from error


def _json_documents(file: Path, field: str, read: Callable[[int], None]) -> Iterator[Iterable[str]]:
    with file.open("rb") as opened:
        number = 0
        while line := opened.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE:
                raise InvalidArgumentError(
                    f"{file}, line {number} has over {_LONGEST_LINE >> 20} MB: is it JSON lines?"
                )
            if line.strip():
                yield [_text_of(line, field, f"{file}, line {number}")]
            read(opened.tell())


def _text_of(line: bytes, field: str, where: str) -> str:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{where} is no JSON: {error}") from error
    text = entry.get(field) if isinstance(entry, dict) else None
    if not isinstance(text, str):
        there = ", ".join(map(repr, entry)) if isinstance(entry, dict) else type(entry).__name__
        raise InvalidArgumentError(f"{where} has no text {field!r}; there is {there}: name its field with --field")
    return text
