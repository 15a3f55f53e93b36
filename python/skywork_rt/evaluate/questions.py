"""A task's questions out of its CSV files: every mistake in them is told with its file and line."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.evaluate.data_files import DataFiles, open_data
from skywork_rt.evaluate.task import CHOICES, Layout, Question, Subject, Task

__all__ = ["SubjectData", "read_task"]

_NAMED = 5  # missing files that a message lists


@dataclass(frozen=True)
class SubjectData:
    """One subject: examples of the split dev, and the questions to ask."""

    subject: Subject
    examples: tuple[Question, ...]
    questions: tuple[Question, ...]
    sha256: str
    """Of the bytes that were read, in hexadecimal."""


def read_task(
    task: Task, path: Path, subjects: Sequence[Subject], split: str, shots: int, limit: int | None
) -> list[SubjectData]:
    """The first `shots` examples and, with a `limit`, that many questions of each subject.

    Raises InvalidArgumentError for files that are missing or not as published.
    """
    splits = ("dev", split) if shots else (split,)
    endings = {_path(task, chosen, subject) for subject in subjects for chosen in splits}
    files = open_data(path, lambda name: any(_ends(name, ending) for ending in endings))
    root = _root(task, files, path, endings)
    _check_presence(task, files, root, subjects, splits, path)
    return [_subject(task, files, root, subject, split, shots, limit) for subject in subjects]


def _path(task: Task, split: str, subject: Subject) -> str:
    return task.layout.path.format(split=split, subject=subject.name)


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith("/" + ending)


def _root(task: Task, files: DataFiles, path: Path, endings: set[str]) -> str:
    """The folder that all files lie in, with its /; the least deep one that has any."""
    roots = set()
    for name in files.names():
        parts = name.split("/")
        for depth in (1, 2):
            if "/".join(parts[-depth:]) in endings and "__MACOSX" not in parts:
                roots.add("".join(part + "/" for part in parts[:-depth]))
    if not roots:
        wanted = min(endings)
        raise InvalidArgumentError(
            f"{path} has no file of {task.title} such as {wanted}: give the directory or archive as it was downloaded, "
            "the one that dev/ lies in or above"
        )
    least = min(root.count("/") for root in roots)
    shallow = sorted(root for root in roots if root.count("/") == least)
    if len(shallow) > 1:
        raise InvalidArgumentError(f"{path} has {task.title} twice, in {' and '.join(shallow[:2])}: give one of them")
    return shallow[0]


def _check_presence(
    task: Task, files: DataFiles, root: str, subjects: Sequence[Subject], splits: Sequence[str], path: Path
) -> None:
    there = set(files.names())
    wanted = [root + _path(task, split, subject) for split in splits for subject in subjects]
    missing = [name for name in wanted if name not in there]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise InvalidArgumentError(
            f"{path} lacks {len(missing)} of {len(wanted)} files: {', '.join(missing[:_NAMED])}{more}; download it "
            "again, or name the subjects that are there with --subjects"
        )


def _subject(
    task: Task, files: DataFiles, root: str, subject: Subject, split: str, shots: int, limit: int | None
) -> SubjectData:
    digest = hashlib.sha256()
    examples: tuple[Question, ...] = ()
    if shots:
        name = root + _path(task, "dev", subject)
        examples = _read(task.layout, files, name, digest)
        if len(examples) < shots:
            raise InvalidArgumentError(
                f"{files.where(name)} has {len(examples)} examples, but --shots asks for {shots}: ask for fewer"
            )
    questions = _read(task.layout, files, root + _path(task, split, subject), digest)
    return SubjectData(subject, examples[:shots], questions[:limit], digest.hexdigest())


def _read(layout: Layout, files: DataFiles, name: str, digest: hashlib._Hash) -> tuple[Question, ...]:
    data = files.read(name)
    digest.update(len(data).to_bytes(8, "little") + data)
    where = files.where(name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidArgumentError(
            f"{where}, line {line}: byte {data[error.start]:#04x} is not UTF-8: convert the file, for example with "
            "iconv -f GB18030 -t UTF-8"
        ) from error
    questions = _parse(layout, text, where)
    if not questions:
        raise InvalidArgumentError(f"{where} has no question")
    return questions


def _parse(layout: Layout, text: str, where: str) -> tuple[Question, ...]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    questions: list[Question] = []
    columns: Mapping[str, int] | None = None if layout.header else _headless(layout)
    width = 0
    started = 1
    try:
        for row in reader:
            place, started = f"{where}, line {started}", reader.line_num + 1
            if not row:
                continue
            if columns is None:
                columns = _columns(layout, row, place)
                width = len(row)
                continue
            _check_width(row, width or len(columns), place)
            questions.append(_question(layout, columns, row, len(questions), place))
    except csv.Error as error:
        raise InvalidArgumentError(f"{where}, line {reader.line_num}: {error}; is a quotation mark missing?") from error
    return tuple(questions)


def _names(layout: Layout) -> list[str]:
    return [layout.question, *CHOICES, layout.answer]


def _headless(layout: Layout) -> dict[str, int]:
    return {name: place for place, name in enumerate(_names(layout))}


def _columns(layout: Layout, row: Sequence[str], place: str) -> dict[str, int]:
    found = {name.strip(): index for index, name in enumerate(row)}
    wanted = _names(layout) + ([layout.identity] if layout.identity is not None else [])
    missing = [name for name in wanted if name not in found]
    if missing:
        named = ", ".join(repr(name) for name in missing)
        raise InvalidArgumentError(f"{place}: the columns {named} are missing; there are {', '.join(map(repr, found))}")
    return found


def _check_width(row: Sequence[str], width: int, place: str) -> None:
    if len(row) != width:
        raise InvalidArgumentError(f"{place} has {len(row)} columns, but must have {width}")


def _question(layout: Layout, columns: Mapping[str, int], row: Sequence[str], number: int, place: str) -> Question:
    answer = row[columns[layout.answer]].strip()
    if answer not in CHOICES:
        raise InvalidArgumentError(f"{place}: the answer is {answer!r}, but must be A, B, C or D")
    a, b, c, d = (row[columns[letter]] for letter in CHOICES)
    identity = str(number) if layout.identity is None else row[columns[layout.identity]].strip()
    return Question(identity, row[columns[layout.question]], (a, b, c, d), answer)
