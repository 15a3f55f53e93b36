"""What a task of multiple choice is: its subjects, files, prompt and how accuracies become one number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["CHOICES", "Layout", "Question", "Subject", "Task"]

CHOICES = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Question:
    """One question with four answers, `answer` the letter of the right one."""

    id: str
    text: str
    options: tuple[str, str, str, str]
    answer: str


@dataclass(frozen=True)
class Subject:
    """`name` is in the files' names, `title` in the prompts; it counts in each of its categories."""

    name: str
    title: str
    categories: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """The published files: one CSV a subject and split."""

    path: str
    """With {split} and {subject}, below the folder that holds all of them."""
    question: str
    answer: str
    identity: str | None
    """Columns by the names in the first line; the options' are A, B, C and D. Without a first line (`header` false)
    question, A to D and answer follow in this order, and questions are numbered from 0."""
    header: bool = True
    default_split: str = "test"
    splits: tuple[str, ...] = ("dev", "val", "test")
    unanswered: Mapping[str, str] = field(default_factory=dict)
    """Splits that are published without answers, and what to use instead."""


@dataclass(frozen=True)
class Task:
    """`prefix` + examples + question is the prompt; an example is a question with its answer behind it."""

    name: str
    title: str
    subjects: tuple[Subject, ...]
    categories: tuple[str, ...]
    """In the order of the summary."""
    layout: Layout
    prefix: Callable[[Subject], str]
    question: Callable[[Subject, Question], str]
    answer: Callable[[Question], str]
    average: Literal["subjects", "questions"]
    """Whether each subject or each question counts the same in a mean."""
    published: float
    """Percent that Skywork-13B-Base is published with, on MindSpore Lite."""

    def chosen(self, names: Sequence[str]) -> tuple[Subject, ...]:
        """The subjects of these names in the task's order, all for none. Raises InvalidArgumentError."""
        refuse_unknown(self.title, names, (subject.name for subject in self.subjects), "subject")
        return tuple(subject for subject in self.subjects if not names or subject.name in names)

    def check_split(self, split: str | None) -> str:
        """The split to evaluate. Raises InvalidArgumentError for one that has no answers or does not exist."""
        chosen = split or self.layout.default_split
        if chosen not in self.layout.splits:
            raise InvalidArgumentError(f"split is {chosen!r}, but {self.title} has {', '.join(self.layout.splits)}")
        if chosen in self.layout.unanswered:
            raise InvalidArgumentError(
                f"{self.title} is published without the answers of its split {chosen!r}, so nothing can be counted: "
                f"use --split {self.layout.unanswered[chosen]}"
            )
        return chosen
