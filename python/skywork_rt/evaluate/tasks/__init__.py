"""The tasks, one a file. A new one is a file and its line here."""

from __future__ import annotations

from skywork_rt.evaluate.task import Task
from skywork_rt.evaluate.tasks.ceval import CEVAL
from skywork_rt.evaluate.tasks.cmmlu import CMMLU
from skywork_rt.evaluate.tasks.mmlu import MMLU

__all__ = ["TASKS"]

TASKS: dict[str, Task] = {task.name: task for task in (CEVAL, MMLU, CMMLU)}
