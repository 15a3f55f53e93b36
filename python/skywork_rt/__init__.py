"""skywork_rt: text from Skywork-13B and every Llama-structured model, decoded in C++.

    from skywork_rt import Generator, SamplingParams

    with Generator("SmolLM2-135M-Instruct") as generator:
        print(generator.generate("The capital of France is", max_tokens=20, temperature=0).text)

Names are resolved when they are first used, so that `skywork_rt.export` and the command line start without the core.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skywork_rt._core import __version__, build_info
    from skywork_rt.api.async_generator import AsyncGenerator
    from skywork_rt.api.generator import Generator
    from skywork_rt.api.options import GeneratorOptions
    from skywork_rt.api.params import SamplingParams
    from skywork_rt.api.results import CompletionOutput, Logprob, Piece, RequestOutput, Score, Timings
    from skywork_rt.api.stream import Stream
    from skywork_rt.errors import (
        BackendError,
        BackendUnavailableError,
        BundleNotFoundError,
        BusyError,
        CancelledError,
        CapacityError,
        CheckpointError,
        ClosedError,
        CorruptBundleError,
        DeadlineExceededError,
        InternalError,
        InvalidArgumentError,
        SkyworkError,
        UnsupportedError,
    )
    from skywork_rt.grammar.grammar import Grammar
    from skywork_rt.tool_calls.parser import ParsedAnswer, ToolCall, ToolCallParser, parse_tool_calls

__all__ = [
    "AsyncGenerator",
    "BackendError",
    "BackendUnavailableError",
    "BundleNotFoundError",
    "BusyError",
    "CancelledError",
    "CapacityError",
    "CheckpointError",
    "ClosedError",
    "CompletionOutput",
    "CorruptBundleError",
    "DeadlineExceededError",
    "Generator",
    "GeneratorOptions",
    "Grammar",
    "InternalError",
    "InvalidArgumentError",
    "Logprob",
    "ParsedAnswer",
    "Piece",
    "RequestOutput",
    "SamplingParams",
    "Score",
    "SkyworkError",
    "Stream",
    "Timings",
    "ToolCall",
    "ToolCallParser",
    "UnsupportedError",
    "__version__",
    "build_info",
    "parse_tool_calls",
]

_HOMES = {
    "ParsedAnswer": "tool_calls.parser",
    "ToolCall": "tool_calls.parser",
    "ToolCallParser": "tool_calls.parser",
    "parse_tool_calls": "tool_calls.parser",
    "__version__": "_core",
    "build_info": "_core",
    "AsyncGenerator": "api.async_generator",
    "Generator": "api.generator",
    "Stream": "api.stream",
    "GeneratorOptions": "api.options",
    "SamplingParams": "api.params",
    "Grammar": "grammar.grammar",
    "CompletionOutput": "api.results",
    "Logprob": "api.results",
    "Piece": "api.results",
    "RequestOutput": "api.results",
    "Score": "api.results",
    "Timings": "api.results",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
