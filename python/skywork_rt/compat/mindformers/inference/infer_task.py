"""InferTask: from the name of a task to an object that infers."""

from __future__ import annotations

from typing import Any, ClassVar

from skywork_rt.compat.mindformers.inference.infer_config import InferConfig
from skywork_rt.compat.mindformers.inference.infers.text_generator_infer import TextGeneratorInfer
from skywork_rt.errors import InvalidArgumentError

__all__ = ["InferTask"]


class InferTask:
    """The tasks: text_generation."""

    task_mapping: ClassVar[dict[str, type[TextGeneratorInfer]]] = {"text_generation": TextGeneratorInfer}

    @classmethod
    def get_infer_task(cls, task_type: str, task_config: InferConfig, **kwargs: Any) -> TextGeneratorInfer:
        """Opens the model of `task_config`. tokenizer: makes ids of texts, as `LlamaTokenizer` does.

        Raises InvalidArgumentError for an unknown task, and what opening raises.
        """
        if not cls.check_task_valid(task_type):
            raise InvalidArgumentError(
                f"get_infer_task: task_type is {task_type!r}, but must be one of {', '.join(cls.support_list())}"
            )
        return cls.task_mapping[task_type](task_config, **kwargs)

    @classmethod
    def check_task_valid(cls, task_type: str) -> bool:
        """Whether there is such a task."""
        return task_type in cls.support_list()

    @classmethod
    def support_list(cls) -> list[str]:
        """Names of tasks."""
        return list(cls.task_mapping)
