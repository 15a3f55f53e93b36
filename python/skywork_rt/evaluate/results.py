"""What an evaluation leaves on disk, and goes on from after it was killed.

settings.json         what the results depend on; a run with other settings is refused
SUBJECT.csv           a finished subject, whole
SUBJECT.csv.partial   the questions that an unfinished subject has had; the next run goes on behind them
summary.json          when all subjects are finished
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.evaluate.questions import SubjectData
from skywork_rt.evaluate.scorer import Scored, best_choice
from skywork_rt.evaluate.task import CHOICES, Question
from skywork_rt.support.publish import sync

__all__ = ["ResultsDirectory", "SubjectFile"]

_COLUMNS = ("id", "answer", "predicted", "right", *(f"logprob_{letter}" for letter in CHOICES), "shots", "detour")
_SETTINGS, _SUMMARY, _PARTIAL, _LOCK = "settings.json", "summary.json", ".partial", ".lock"


class ResultsDirectory:
    """The directory of one evaluation, ours alone while it is open."""

    def __init__(self, path: Path, settings: Mapping[str, Any], *, fresh: bool) -> None:
        """`fresh`: what an earlier evaluation left is removed. Raises InvalidArgumentError for results of other
        settings, for a directory of something else, and while another process writes there."""
        self.path = path
        self._settings = json.loads(json.dumps(settings))  # as they will be read again
        self._fresh = fresh
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._open()
        except OSError as error:
            self._close()
            raise InvalidArgumentError(f"{self.path} cannot be written: {error.strerror}") from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def subject(self, data: SubjectData) -> SubjectFile:
        """The file of a subject, with the results that it has already."""
        return SubjectFile(self.path / f"{data.subject.name}.csv", data.questions)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        _publish(self.path / _SUMMARY, summary)

    def _open(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        settings = self.path / _SETTINGS
        others = [entry.name for entry in self.path.iterdir() if entry.name != _LOCK]
        if others and not settings.exists() and any(not name.endswith(_PARTIAL) for name in others):
            raise InvalidArgumentError(
                f"{self.path} has {min(others)!r} in it and no evaluation: name another directory with -o"
            )
        self._lock = (self.path / _LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidArgumentError(f"another evaluation is writing to {self.path}: name another with -o") from error
        if self._fresh:
            self._remove_old()
        if settings.exists():
            self._compare(settings)
        else:
            _publish(settings, self._settings)

    def _remove_old(self) -> None:
        for entry in sorted(self.path.iterdir()):
            if entry.name in (_SETTINGS, _SUMMARY) or entry.name.endswith((".csv", _PARTIAL)):
                entry.unlink()

    def _compare(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InvalidArgumentError(f"{path} is damaged ({error}): start again with --fresh") from error
        names = sorted({*found, *self._settings}) if isinstance(found, dict) else ["everything"]
        changed = [name for name in names if found.get(name) != self._settings.get(name)]
        if changed:
            told = "; ".join(f"{name} was {found.get(name)!r}, is {self._settings.get(name)!r}" for name in changed)
            raise InvalidArgumentError(
                f"{self.path} has results of other settings, which are not mixed: {_short(told)}. Name another "
                "directory with -o, or replace them with --fresh"
            )

    def _close(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _short(text: str) -> str:
    return text if len(text) <= 600 else text[:600] + " …"


def _publish(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_name(path.name + _PARTIAL)
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sync(partial)
    partial.replace(path)
    sync(path.parent)


@dataclass
class SubjectFile:
    """A subject's results, a line a question, in the questions' order."""

    path: Path
    questions: Sequence[Question]

    def __post_init__(self) -> None:
        self._partial = self.path.with_name(self.path.name + _PARTIAL)
        self._writer: IO[bytes] | None = None
        self.results = self._finished() if self.path.exists() else self._begun()
        """What is there already, and what `add` adds."""

    @property
    def complete(self) -> bool:
        return len(self.results) == len(self.questions)

    def add(self, scored: Scored) -> None:
        """The next question's; with the last one the file gets its name."""
        if self._writer is None:
            self._writer = self._partial.open("ab")
            if self._writer.tell() == 0:
                self._writer.write(_line(_COLUMNS))
        self._writer.write(_line(_row(self.questions[len(self.results)], scored)))
        self._writer.flush()
        self.results.append(scored)
        if self.complete:
            self._finish()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _finish(self) -> None:
        assert self._writer is not None, "something was written"
        os.fsync(self._writer.fileno())
        self.close()
        self._partial.replace(self.path)
        sync(self.path.parent)

    def _finished(self) -> list[Scored]:
        results, _ = _parse(self.path.read_bytes(), self.questions)
        if len(results) != len(self.questions):
            raise InvalidArgumentError(
                f"{self.path} has {len(results)} sound lines for {len(self.questions)} questions: remove it, and its "
                "subject is evaluated again, or start again with --fresh"
            )
        return results

    def _begun(self) -> list[Scored]:
        """Of a file that may end anywhere: what is behind its last whole line is cut off."""
        if not self._partial.exists():
            return []
        results, size = _parse(self._partial.read_bytes(), self.questions)
        os.truncate(self._partial, size)
        if results and len(results) == len(self.questions):  # killed between the last line and its name
            self._writer = self._partial.open("ab")
            self.results = results
            self._finish()
        return results


def _line(row: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([cell.replace("\n", " ") for cell in row])
    return text.getvalue().encode()


def _row(question: Question, scored: Scored) -> list[str]:
    predicted = best_choice(scored) or ""
    logprobs = ["" if value is None else repr(value) for value in scored.logprobs]  # read back to the last bit
    return [
        question.id,
        question.answer,
        predicted,
        str(int(predicted == question.answer)),
        *logprobs,
        str(scored.shots),
        scored.detour,
    ]


def _parse(data: bytes, questions: Sequence[Question]) -> tuple[list[Scored], int]:
    """The results of the sound lines that a file begins with, and how many bytes these are."""
    header = _line(_COLUMNS)
    if not data.startswith(header):
        return [], 0
    size, results = len(header), []
    for question, line in zip(questions, data[len(header) :].splitlines(keepends=True), strict=False):
        scored = _scored(line)
        if scored is None or _line(_row(question, scored)) != line:
            break
        results.append(scored)
        size += len(line)
    return results, size


def _scored(line: bytes) -> Scored | None:
    try:
        (row,) = csv.reader([line.decode()], strict=True)
        a, b, c, d = (float(cell) if cell else None for cell in row[4:8])
        scored = Scored((a, b, c, d), int(row[8]), row[9])
    except (ValueError, IndexError, csv.Error):
        return None
    return scored
