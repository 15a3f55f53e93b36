"""The numbers of an evaluation: as JSON and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from skywork_rt.evaluate.questions import SubjectData
from skywork_rt.evaluate.scorer import Scored, Scorer, best_choice
from skywork_rt.evaluate.statistics import Estimate, mean_of_shares, share
from skywork_rt.evaluate.task import Task

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Group", "Summary", "summarise"]

_INTERVALS = {
    "subjects": "95 %: Wilson's for a subject; for a mean of subjects the normal one, of Agresti and Coull's variances",
    "questions": "95 %: Wilson's, of all questions together",
}
_NAMED = 10


@dataclass(frozen=True)
class Group:
    """A subject, a category or all: how many of how many questions were answered right, and the accuracy."""

    name: str
    subjects: int
    questions: int
    right: int
    accuracy: Estimate


@dataclass(frozen=True)
class Summary:
    """All that summary.json says."""

    task: Task
    model: str
    average: Group
    categories: list[Group]
    subjects: list[Group]
    lost_examples: dict[int, int]
    """Examples that a prompt lost because it was too long, to how many prompts lost as many."""
    unanswerable: list[str]
    """SUBJECT/ID of questions that did not fit without any example, or that a server did not answer."""
    notes: list[str]
    settings: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "model": self.model,
            "average": asdict(self.average),
            "published": {"model": "Skywork-13B-Base", "accuracy": round(self.task.published / 100, 4)},
            "averaged_over": self.task.average,
            "intervals": _INTERVALS[self.task.average],
            "categories": [asdict(group) for group in self.categories],
            "subjects": [asdict(group) for group in self.subjects],
            "prompts_that_lost_examples": {str(lost): count for lost, count in self.lost_examples.items()},
            "unanswerable": self.unanswerable,
            "notes": self.notes,
            "settings": dict(self.settings),
        }

    def table(self) -> Table:
        """Subjects, categories and the mean, in percent."""
        from rich.table import Table

        table = Table(title=f"{self.task.title}: {self.model}", title_style="bold")
        table.add_column("subject", no_wrap=True)
        for column in ("questions", "right", "accuracy %", "95 % interval", "published %"):
            table.add_column(column, justify="right", no_wrap=True)
        for group in self.subjects:
            table.add_row(*_cells(group))
        table.add_section()
        for group in self.categories:
            table.add_row(*_cells(group))
        table.add_section()
        table.add_row(*_cells(self.average), f"{self.task.published:.2f}", style="bold")
        return table

    def remarks(self) -> list[str]:
        """Sentences below the table."""
        said = [
            f"Published is Skywork-13B-Base's, five-shot, over all {len(self.task.subjects)} subjects. Intervals are "
            f"of {_INTERVALS[self.task.average]}."
        ]
        if len(self.subjects) < len(self.task.subjects) or self.settings["limit"] is not None:
            said.append("This was a part of the task: its mean cannot be compared with a published one.")
        for lost, count in self.lost_examples.items():
            said.append(f"{count} prompts were too long and lost {lost} of their {self.settings['shots']} examples.")
        if self.unanswerable:
            more = f" and {len(self.unanswerable) - _NAMED} more" if len(self.unanswerable) > _NAMED else ""
            said.append(
                f"{len(self.unanswerable)} questions could not be answered, and count as wrong: "
                f"{', '.join(self.unanswerable[:_NAMED])}{more}."
            )
        return said + self.notes


def summarise(
    task: Task,
    data: Sequence[SubjectData],
    results: Sequence[Sequence[Scored]],
    scorer: Scorer,
    settings: Mapping[str, Any],
) -> Summary:
    """`results`: of each subject, in the order of its questions."""
    subjects = [_subject(entry, scored) for entry, scored in zip(data, results, strict=True)]
    categories = []
    for name in task.categories:
        members = [group for entry, group in zip(data, subjects, strict=True) if name in entry.subject.categories]
        if members:
            categories.append(_mean(task, name, members))
    return Summary(
        task=task,
        model=scorer.name,
        average=_mean(task, "all", subjects),
        categories=categories,
        subjects=subjects,
        lost_examples=_lost(data, results),
        unanswerable=_unanswerable(data, results),
        notes=scorer.notes([scored for many in results for scored in many]),
        settings=settings,
    )


def _subject(data: SubjectData, results: Sequence[Scored]) -> Group:
    right = sum(
        best_choice(scored) == question.answer for question, scored in zip(data.questions, results, strict=True)
    )
    return Group(data.subject.name, 1, len(results), right, share(right, len(results)))


def _mean(task: Task, name: str, members: Sequence[Group]) -> Group:
    right, count = sum(group.right for group in members), sum(group.questions for group in members)
    if task.average == "questions":
        accuracy = share(right, count)
    else:
        accuracy = mean_of_shares([(group.right, group.questions) for group in members])
    return Group(name, len(members), count, right, accuracy)


def _lost(data: Sequence[SubjectData], results: Sequence[Sequence[Scored]]) -> dict[int, int]:
    lost = Counter(
        len(entry.examples) - scored.shots
        for entry, many in zip(data, results, strict=True)
        for scored in many
        if scored.answered
    )
    return {count: lost[count] for count in sorted(lost) if count > 0}


def _unanswerable(data: Sequence[SubjectData], results: Sequence[Sequence[Scored]]) -> list[str]:
    return [
        f"{entry.subject.name}/{question.id}"
        for entry, many in zip(data, results, strict=True)
        for question, scored in zip(entry.questions, many, strict=True)
        if not scored.answered
    ]


def _cells(group: Group) -> tuple[str, str, str, str, str]:
    estimate = group.accuracy
    return (
        group.name,
        str(group.questions),
        str(group.right),
        f"{100 * estimate.value:.2f}",
        f"{100 * estimate.low:.2f} to {100 * estimate.high:.2f}",
    )
