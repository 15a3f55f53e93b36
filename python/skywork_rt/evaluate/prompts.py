"""The prompts of a task's questions, in parts, so that a scorer can leave examples out that do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skywork_rt.evaluate.questions import SubjectData
from skywork_rt.evaluate.task import Task

__all__ = ["PromptParts", "prompts_of"]


@dataclass(frozen=True)
class PromptParts:
    """`prefix`, the examples, then the question up to where the answer's letter comes."""

    prefix: str
    examples: Sequence[str]
    question: str

    def text(self, shots: int) -> str:
        """With the last `shots` examples: what does not fit is dropped from the front."""
        return "".join([self.prefix, *self.examples[len(self.examples) - shots :], self.question])


def prompts_of(task: Task, data: SubjectData, start: int = 0) -> Iterator[PromptParts]:
    """One for each question from the `start`-th on."""
    subject = data.subject
    prefix = task.prefix(subject)
    examples = [task.question(subject, example) + task.answer(example) for example in data.examples]
    for question in data.questions[start:]:
        yield PromptParts(prefix, examples, task.question(subject, question))
