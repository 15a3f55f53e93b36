"""MindFormers' names for inference, over this runtime: change `mindformers` to `skywork_rt.compat.mindformers`.

The modules lie where they lie in MindFormers 1.0.2, so that a script changes its imports and nothing else. Names,
defaults, order of arguments and shapes of results are theirs; docs/coming-from-mindformers.md says what is not.
"""

from __future__ import annotations

from typing import Any

from skywork_rt.compat.mindformers.generation import (
    BaseStreamer,
    GenerationConfig,
    TextIteratorStreamer,
    TextStreamer,
)
from skywork_rt.compat.mindformers.inference import InferConfig, InferTask
from skywork_rt.compat.mindformers.models import LlamaConfig, LlamaForCausalLM, LlamaTokenizer
from skywork_rt.compat.mindformers.pipeline import TextGenerationPipeline, pipeline
from skywork_rt.compat.mindformers.tools.register import DictConfig, MindFormerConfig

__all__ = [
    "BaseStreamer",
    "DictConfig",
    "GenerationConfig",
    "InferConfig",
    "InferTask",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaTokenizer",
    "MindFormerConfig",
    "TextGenerationPipeline",
    "TextIteratorStreamer",
    "TextStreamer",
    "pipeline",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise ImportError(
        f"skywork_rt.compat.mindformers has no {name}; it has {', '.join(__all__)}. Training is a command: "
        "skywork-rt run --run_mode train (docs/coming-from-mindformers.md)"
    )
