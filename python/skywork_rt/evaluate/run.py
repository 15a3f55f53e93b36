"""One evaluation: all subjects' questions in one pass of a scorer, kept on disk as they are answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skywork_rt.evaluate.prompts import PromptParts, prompts_of
from skywork_rt.evaluate.questions import SubjectData
from skywork_rt.evaluate.results import ResultsDirectory, SubjectFile
from skywork_rt.evaluate.scorer import Scorer
from skywork_rt.evaluate.summary import Summary, summarise
from skywork_rt.evaluate.task import Task
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["evaluate", "settings_of"]

_VERSION = 1  # of the files' content


def settings_of(
    task: Task, data: Sequence[SubjectData], scorer: Scorer, split: str, shots: int, limit: int | None
) -> dict[str, Any]:
    """Everything that the results depend on."""
    return {
        "version": _VERSION,
        "task": task.name,
        "split": split,
        "shots": shots,
        "limit": limit,
        "subjects": [entry.subject.name for entry in data],
        "data": {entry.subject.name: entry.sha256 for entry in data},
        "scorer": dict(scorer.identity()),
    }


def evaluate(
    task: Task,
    data: Sequence[SubjectData],
    scorer: Scorer,
    directory: ResultsDirectory,
    settings: Mapping[str, Any],
    progress: Progress = no_progress,
) -> Summary:
    """Answers what is not answered in `directory` yet, and writes its summary.json."""
    files = [directory.subject(entry) for entry in data]
    todo = [(entry, file) for entry, file in zip(data, files, strict=True) if not file.complete]
    total = sum(len(entry.questions) for entry in data)
    done = sum(len(file.results) for file in files)
    stage = f"{task.title} questions"
    progress(stage, done, total)
    answers = scorer.score(_prompts(task, todo))
    try:
        for _, file in todo:
            while not file.complete:
                file.add(next(answers))
                done += 1
                progress(stage, done, total)
    finally:
        _close(answers, files)
    summary = summarise(task, data, [file.results for file in files], scorer, settings)
    directory.write_summary(summary.to_json())
    return summary


def _prompts(task: Task, todo: Sequence[tuple[SubjectData, SubjectFile]]) -> Iterator[PromptParts]:
    """Of all subjects, one behind the other. What a file has is asked before the first is answered."""
    starts = [len(file.results) for _, file in todo]
    for (entry, _), start in zip(todo, starts, strict=True):
        yield from prompts_of(task, entry, start)


def _close(answers: Iterator[object], files: Sequence[SubjectFile]) -> None:
    close = getattr(answers, "close", None)
    if close is not None:  # of a generator: it cancels what is in flight
        close()
    for file in files:
        file.close()
