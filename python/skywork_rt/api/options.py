"""The options of `Generator`, for editors and mypy; the core checks them and has their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import numpy as np

from skywork_rt.backends import PythonBackend
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.field_table import field_table
from skywork_rt.support.suggest import refuse_unknown

__all__ = ["GeneratorOptions", "options_for_core", "with_options_documented"]

T = TypeVar("T")


class GeneratorOptions(TypedDict, total=False):
    """How a bundle is opened: the keywords of `Generator` and `AsyncGenerator`, all optional.

    csrc/include/skywork_rt/generator_options.h is the table; a test holds this equal to it, to the last word.
    """

    backend: str | PythonBackend
    """Name of a backend, or "auto": the first one that can run the bundle (docs/reference/backends.md). In Python also
    "mindspore", which "auto" never takes, and a PythonBackend of one's own."""
    device: str
    """What to compute on: "cpu" or "ascend". "auto": the device of the backend. Other names are for backends of one's
    own."""
    device_id: int
    """Ascend backend: number of the card, as npu-smi counts them."""
    rank_id: int
    """Ascend backend: rank of this process among those of a rank table, for graphs that are cut over several cards."""
    ge_config: str
    """Ascend backend: MindSpore Lite's configuration (context.cfg), which the other options override; two files, with a
    comma between them, are for the full and the incremental graph. Empty: what docs/ascend.md says."""
    ge_precision: str
    """Ascend backend: ge.exec.precision_mode, such as "must_keep_origin_dtype" or "force_fp16". "auto": as ge_config
    says, else must_keep_origin_dtype."""
    weights: str
    """Which of the bundle's weights the native backend computes with, such as "int4". "auto": those of its GGUF file
    ("gguf"), else int8, else the smallest in floats, and int4, which rounds coarsely, only where there is no other."""
    activations: str
    """Native backend: activations in "f32" (exact to float32 rounding) or "int8" (faster, not exact). "auto": f32."""
    kv_cache: str
    """Native backend: keys and values in "f32" or "f16". "auto": f32."""
    threads: int | None
    """Threads that compute. None: one a core of `affinity`, else one a core of this process's affinity mask, but no
    more than the CPU quota of its control groups, rounded up."""
    affinity: Sequence[int] | None
    """Numbers of the cores to compute on, as many as threads or more. None: the system decides."""
    mmap: bool | None
    """Native backend: true maps the weights (shared with other processes, read when needed), false copies them into
    huge pages (faster to read). None: copies up to 1 GiB and a quarter of the free memory, maps what is larger."""
    verify: bool
    """Check the SHA-256 of memory-mapped weights too."""
    max_length: int | None
    """Longest prompt + output, in tokens. None: the model's, or what the cache holds if that is less."""
    max_cached_tokens: int | None
    """Most tokens that the KV cache holds over all sequences, kept prefixes too. None: max_length * max_batch, or what
    max_cache_bytes holds if that is less."""
    max_cache_bytes: int | None
    """Most bytes that those tokens take, keys and values together; whichever bound is less counts. None: nine tenths of
    the memory that is available (control groups count) beside weights, mapped ones too, and work buffers."""
    max_batch: int
    """Most sequences that run at once."""
    prefill_budget: int
    """Most prompt tokens a step; prefill_stretch bounds them by time."""
    prefill_stretch: float
    """While sequences decode, a step that reads prompts too takes at most this many times as long as one that does not,
    and at most 0.7 s, or half as long again where that is more: larger is faster prompts, smaller is steadier streams.
    Prompts alone are read for 2 s a step. A backend whose results depend on how prompts are cut (lite) reads a fixed
    number of tokens a step, which follows from the model's shape. 0: no bound but prefill_budget."""
    max_queue: int
    """Most requests that wait; one more is refused."""
    max_logprobs: int
    """Most log-probabilities a token that a request may ask for (logprobs, prompt_logprobs). -1: no bound."""
    admission: str
    """When a request may start: "reserve", when there is room for its prompt and max_tokens; "optimistic", for its
    prompt and one token. Then more run at once, and who needs room that is not there sends the lowest priority, of
    these the youngest, back to the queue, to be computed again later. Needs the native backend. Requests of several
    samples or beams always reserve."""
    prefix_cache: bool
    """Reuse the cache of prompts that begin alike."""


def options_for_core(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, as the core reads it: an option that is None is left out, and so is the core's default.

    The core says 0, and an empty list, where Python says None; given by a caller they would not mean what they say, so
    they are refused, and so are names that do not exist, with the nearest one that does.
    """
    fields = {field.name: field for field in field_table("api/options.py", "GeneratorOptions")}
    refuse_unknown("Generator", given, fields)
    options: dict[str, Any] = {}
    for name, value in given.items():
        annotation = fields[name].annotation
        if value is None and annotation.endswith("| None"):
            continue
        if annotation == "int | None" and _is_zero(value):
            raise InvalidArgumentError(f"Generator: {name} is 0, but must be at least 1, or None")
        if annotation == "Sequence[int] | None":
            value = _cores(name, value)
        options[name] = value
    return options


def _is_zero(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | np.integer) and value == 0


def _cores(name: str, value: object) -> list[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or not value:
        raise InvalidArgumentError(f"Generator: {name} is {value!r}, but must be a list of cores, or None")
    return list(value)


def with_options_documented(cls: type[T]) -> type[T]:
    """Adds the options and their texts to the docstring of a class that takes them, for help() and notebooks."""
    lines = [f"    {field.name}: {field.text}" for field in field_table("api/options.py", "GeneratorOptions")]
    cls.__doc__ = f"{(cls.__doc__ or '').rstrip()}\n\n    Options:\n\n" + "\n".join(lines) + "\n"
    return cls
