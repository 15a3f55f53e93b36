"""`pipeline("text_generation", model=…, tokenizer=…)`."""

from __future__ import annotations

from typing import Any

from skywork_rt.compat.mindformers.models.llama.llama import LlamaForCausalLM
from skywork_rt.compat.mindformers.pipeline.text_generation_pipeline import TextGenerationPipeline
from skywork_rt.errors import InvalidArgumentError, UnsupportedError

__all__ = ["pipeline"]

_TASK = "text_generation"


def pipeline(
    task: str | None = None,
    model: Any = None,
    tokenizer: Any = None,
    image_processor: Any = None,
    audio_processor: Any = None,
    backend: str = "ms",
    **kwargs: Any,
) -> TextGenerationPipeline:
    """A pipeline; `kwargs` are defaults of its calls, as max_length=128.

    Raises UnsupportedError for another task, or a model by name, which MindFormers would download.
    """
    if task != _TASK:
        raise UnsupportedError(f"pipeline: task is {task!r}, but {_TASK!r} is the one that this runtime has")
    if isinstance(model, str):
        raise UnsupportedError(
            f"pipeline: model is the name {model!r}; nothing is downloaded by name: give a LlamaForCausalLM"
        )
    if image_processor is not None or audio_processor is not None:
        raise UnsupportedError("pipeline: image_processor and audio_processor have no meaning for text_generation")
    if backend != "ms":
        raise InvalidArgumentError(f"pipeline: backend is {backend!r}, but must be 'ms'")
    if not isinstance(model, LlamaForCausalLM):
        raise InvalidArgumentError(f"pipeline: model is a {type(model).__name__}; give a LlamaForCausalLM")
    return TextGenerationPipeline(model, tokenizer=tokenizer, **kwargs)
