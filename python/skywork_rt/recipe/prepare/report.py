"""What `prepare` did, and what it had to leave out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["BadLine", "Report"]

_KEPT = 1000


@dataclass(frozen=True)
class BadLine:
    """A line that gave no document, and why. `line` counts from 1."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass
class Report:
    """Counts of a run. `trained` are the tokens whose prediction a training run learns from, once an epoch."""

    out: Path
    seq_length: int
    layout: str
    pad_id: int
    documents: int = 0
    empty: int = 0
    bad: int = 0
    tokens: int = 0
    records: int = 0
    trained: int = 0
    dropped: int = 0
    """Tokens that are in no record: only the recipe's layout drops any."""
    bad_lines: list[BadLine] = field(default_factory=list)
    """The first thousand; `bad` counts all."""

    def note_bad(self, line: BadLine) -> None:
        self.bad += 1
        if len(self.bad_lines) < _KEPT:
            self.bad_lines.append(line)
