"""The options of `skywork-rt serve`, as a table: the command line, the config file and the reference are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.support.suggest import refuses_unknown_fields
from skywork_rt.tool_calls.table import format_named

__all__ = ["ServeOptions", "ServerSettings"]


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """To whom a server listens, and how much they may take."""

    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0: every address of the machine; then give an api_key."""
    port: int = 8000
    """Port to listen on. 0: a free one, which the first line of the log tells."""
    api_key: str | Sequence[str] | None = None
    """Keys, one of which every request must carry (Authorization: Bearer KEY), but those to /health and for the
    files of the page."""
    api_key_file: str | None = None
    """File of such keys, one a line; they are added to the others and to those of SKYWORK_RT_API_KEYS."""
    cors_origin: str | Sequence[str] | None = None
    """Origins, such as https://app.example, whose pages may call the server from a browser. *: all."""
    page: bool = True
    """Serve the chat page at / to browsers."""
    lenient: bool = False
    """Ignore fields of a request that nobody knows, instead of refusing them."""
    allow_priority: bool = False
    """Let requests carry `priority`, by which they overtake others."""
    max_body_bytes: int = 8388608
    """Longest body of a request, in bytes."""
    max_prompt_tokens: int | None = None
    """Longest prompt, in tokens. None: what the model takes."""
    max_output_tokens: int | None = None
    """Most tokens that a request may ask for, each of its answers counted by itself. None: what the model takes."""
    max_prompts: int = 128
    """Most prompts in one request to /v1/completions."""
    max_samples: int = 16
    """Most answers to one prompt: n, best_of and the width of beam search."""
    max_requests: int = 1024
    """Most requests that run or wait at once, over all models; one more is told to come again (429)."""
    request_seconds: float = 600.0
    """Longest time that a request may wait and run. 0: no bound."""
    header_seconds: float = 10.0
    """Longest time to send a request's header, and to leave a connection idle, at most 60."""
    body_seconds: float = 30.0
    """Longest time to send a request's body."""
    drain_seconds: float = 30.0
    """After SIGTERM, how long running requests may go on; what is left then is ended."""
    max_model_memory: int | None = None
    """Most bytes of all open models, weights and caches together. Models are opened when they are asked for, and the
    longest unused one is closed for another. None: no bound, and nothing is closed."""
    model_seconds: float = 60.0
    """How long a request waits for a model for which there is no memory while others are in use."""
    tool_parser: str | None = None
    """How the models write tool calls: hermes, llama3, mistral, mistral_args or smollm2. None: as each model's chat
    template says."""
    log_prompts: bool = False
    """Write prompts and answers to the log."""
    uvloop: bool = False
    """Run on uvloop's event loop, which must be installed."""


@refuses_unknown_fields
@dataclass(frozen=True, kw_only=True)
class ServerSettings(ServeOptions):
    """Everything that a server is made of. Raises InvalidArgumentError, which names the field."""

    models: Mapping[str, str] = field(default_factory=dict)
    """Bundles by the names that requests call them. The first one is opened at the start."""
    generator: Mapping[str, Any] = field(default_factory=dict)
    """How each bundle is opened: GeneratorOptions."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(ServeOptions).items():
            _check_kind(name, getattr(self, name), kind)
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if value is not None:
                _check(name, value, least, most)
        if self.tool_parser is not None:
            format_named(self.tool_parser)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that were given in `api_key`."""
        return _texts(self.api_key)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins that were given in `cors_origin`."""
        return _texts(self.cors_origin)


_MOST = 2**53
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("port", 0, 65535),
    ("max_body_bytes", 1, _MOST),
    ("max_prompt_tokens", 1, _MOST),
    ("max_output_tokens", 1, _MOST),
    ("max_prompts", 1, _MOST),
    ("max_samples", 1, _MOST),
    ("max_requests", 1, _MOST),
    ("request_seconds", 0, 10**6),
    ("header_seconds", 0.001, 60),
    ("body_seconds", 0.001, 10**6),
    ("drain_seconds", 0, 10**6),
    ("max_model_memory", 1, _MOST),
    ("model_seconds", 0, 10**6),
)


def _check_kind(name: str, value: object, kind: Any) -> None:
    """A config file may hold anything."""
    kinds = [get_origin(each) or each for each in get_args(kind) or (kind,)]
    fits = any(_is(value, each) for each in kinds)
    if not fits or (Sequence in kinds and not all(isinstance(item, str) for item in _texts(value))):
        names = " or ".join(_NAMES[each] for each in kinds)
        raise InvalidArgumentError(f"{name} is {value!r} ({type(value).__name__}), but must be {names}")


def _is(value: object, kind: Any) -> bool:
    if kind is Sequence:
        return isinstance(value, list | tuple)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Sequence: "a list of texts"}
_NAMES[type(None)] = "nothing"


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidArgumentError(f"{name} is {value}, but must be from {least:g} to {most:g}")


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
