"""Reads documents out of files, folders and standard input, a line at a time, in bounded memory."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.recipe.prepare.report import BadLine

__all__ = ["DOCUMENT_UNITS", "STDIN", "Document", "DocumentReader", "DocumentUnit", "Format", "find_files"]

Format = Literal["auto", "jsonl", "text"]
DocumentUnit = Literal["line", "paragraph", "file"]
DOCUMENT_UNITS: tuple[DocumentUnit, ...] = ("line", "paragraph", "file")

STDIN = "-"
_JSONL, _TEXT = (".jsonl", ".json", ".ndjson"), (".txt", ".text", ".md")
_GZIP = ".gz"
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
LARGEST_DOCUMENT = 64 << 20
"""Bytes of one document, which a tokenizer takes as a whole. It bounds the memory of a run."""


@dataclass(frozen=True)
class Document:
    """A text of one or more fields, joined without anything between them. All but the last field are its prompt."""

    fields: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(self.fields)

    @property
    def prompt(self) -> str:
        return "".join(self.fields[:-1])


def find_files(inputs: Sequence[str]) -> list[str]:
    """The files to read, in the order of `inputs`; of a folder all files of text and JSON lines in it, sorted by path.

    Raises InvalidArgumentError for a path that does not exist and for a folder without such files.
    """
    found: list[str] = []
    for given in inputs:
        path = Path(given)
        if given == STDIN or path.is_file():
            found.append(given)
        elif path.is_dir():
            inside = sorted(str(file) for file in path.rglob("*") if file.is_file() and _kind(file) is not None)
            if not inside:
                known = ", ".join(_JSONL + _TEXT)
                raise InvalidArgumentError(f"the folder {given} has no file that ends in one of {known} (or {_GZIP})")
            found += inside
        elif path.exists():
            found.append(given)  # a pipe
        else:
            raise InvalidArgumentError(f"{given} does not exist; give files, folders, or - for standard input")
    if found.count(STDIN) > 1:
        raise InvalidArgumentError("standard input (-) is named twice")
    return found


def _kind(path: Path) -> Format | None:
    suffix = Path(path.stem).suffix if path.suffix == _GZIP else path.suffix
    if suffix.lower() in _JSONL:
        return "jsonl"
    return "text" if suffix.lower() in _TEXT else None


class DocumentReader:
    """Iterates over the documents of `files` and tells what is wrong with lines that give none.

    Args:
        files: as `find_files` gives them.
        kind: "jsonl", "text", or "auto": by the file's name, and for other names text.
        unit: what of a text file is one document. Of JSON lines it is always a line.
        fields: names of the JSON fields whose texts make a document; none given means content and summary (ADGEN),
            else text.
        on_bad: called for each line that gives no document.
    """

    def __init__(
        self,
        files: Sequence[str],
        *,
        kind: Format,
        unit: DocumentUnit,
        fields: Sequence[str],
        on_bad: Callable[[BadLine], None],
    ) -> None:
        self._files = files
        self._kind = kind
        self._unit = unit
        self._fields = tuple(fields)
        self._on_bad = on_bad
        self.empty = 0
        self.bytes_read = 0
        """Of the files as they lie on the disk, for showing how far the run is."""

    def __iter__(self) -> Iterator[Document]:
        for name in self._files:
            for document in self._documents_of(name):
                if document.text:
                    yield document
                else:
                    self.empty += 1

    def _documents_of(self, name: str) -> Iterator[Document]:
        kind = self._kind if self._kind != "auto" else (_kind(Path(name)) or "text")
        shown = "standard input" if name == STDIN else name
        before = self.bytes_read
        with _opened(name) as (raw, lines):
            numbered = _numbered(lines, shown, self._on_bad)
            documents = self._json_lines(numbered, shown) if kind == "jsonl" else self._texts(numbered, shown)
            for document in documents:
                if raw.seekable():
                    self.bytes_read = before + raw.tell()
                yield document
            if raw.seekable():
                self.bytes_read = before + raw.tell()

    def _json_lines(self, lines: Iterator[tuple[int, str]], shown: str) -> Iterator[Document]:
        for number, line in lines:
            if not line.strip():
                self.empty += 1
                continue
            try:
                yield _parse(line, self._fields)
            except ValueError as error:
                self._on_bad(BadLine(shown, number, str(error)))

    def _texts(self, lines: Iterator[tuple[int, str]], shown: str) -> Iterator[Document]:
        if self._unit == "line":
            for _, line in lines:
                yield Document((line,))
            return
        yield from self._blocks(lines, shown)

    def _blocks(self, lines: Iterator[tuple[int, str]], shown: str) -> Iterator[Document]:
        """Paragraphs, between which are empty lines, or the whole file."""
        block: list[str] = []
        size = first = 0
        for number, line in lines:
            if self._unit == "paragraph" and not line.strip():
                if block:
                    yield Document(("\n".join(block),))
                block, size = [], 0
                continue
            first = first if block else number
            size += len(line) + 1
            if size > LARGEST_DOCUMENT:
                raise InvalidArgumentError(
                    f"{shown}: the {self._unit} at line {first} has more than {LARGEST_DOCUMENT >> 20} MiB, too much "
                    "for one document; take a smaller unit (--document line)"
                )
            block.append(line)
        if block:
            yield Document(("\n".join(block),))


class _opened:
    """The file as it lies on the disk, and its bytes unpacked."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> tuple[BinaryIO, BinaryIO]:
        if self._name == STDIN:
            self._raw: BinaryIO = sys.stdin.buffer
            return self._raw, self._raw
        try:
            self._raw = Path(self._name).open("rb")
        except OSError as error:
            raise InvalidArgumentError(f"{self._name} cannot be read: {error.strerror}") from error
        unpacked = gzip.GzipFile(fileobj=self._raw) if self._name.endswith(_GZIP) else self._raw
        return self._raw, unpacked  # type: ignore[return-value]  # GzipFile reads as a BinaryIO does

    def __exit__(self, *_: object) -> None:
        if self._name != STDIN:
            self._raw.close()


def _numbered(lines: BinaryIO, shown: str, on_bad: Callable[[BadLine], None]) -> Iterator[tuple[int, str]]:
    """Lines as text with their numbers, without line breaks; what is no UTF-8 or has no end goes to `on_bad`."""
    number = 0
    while True:
        number += 1
        line = _read_line(lines, shown)
        if not line:
            return
        if number == 1:
            if line.startswith(_UTF16):
                raise InvalidArgumentError(f"{shown} is UTF-16; convert it to UTF-8 first")
            line = line.removeprefix(_BOM)
        if len(line) > LARGEST_DOCUMENT:
            on_bad(BadLine(shown, number, f"longer than {LARGEST_DOCUMENT >> 20} MiB"))
            while line and not line.endswith(b"\n"):
                line = _read_line(lines, shown)
            continue
        try:
            yield number, line.rstrip(b"\r\n").decode("utf-8")
        except UnicodeDecodeError as error:
            on_bad(BadLine(shown, number, f"no UTF-8: byte {error.start} of the line is {line[error.start]:#04x}"))


def _read_line(lines: BinaryIO, shown: str) -> bytes:
    try:
        return lines.readline(LARGEST_DOCUMENT + 1)
    except (OSError, EOFError) as error:  # gzip reports damage as either
        raise InvalidArgumentError(f"{shown} cannot be read to its end: {error}") from error


def _parse(line: str, fields: tuple[str, ...]) -> Document:
    """Raises ValueError that says what is wrong with the line."""
    try:
        value = json.loads(line)
    except RecursionError:
        raise ValueError("no JSON that can be read: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} where an object was expected")
    wanted = fields or (("text",) if "text" in value and "content" not in value else ("content", "summary"))
    for name in wanted:
        if name not in value:
            raise ValueError(f"the field {name!r} is missing; there are: {', '.join(map(repr, value)) or 'none'}")
        if not isinstance(value[name], str):
            raise ValueError(f"the field {name!r} is a {type(value[name]).__name__}, not a text")
        _refuse_surrogates(name, value[name])
    return Document(tuple(value[name] for name in wanted))


def _refuse_surrogates(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the field {name!r} has half a surrogate pair at index {error.start}") from None
