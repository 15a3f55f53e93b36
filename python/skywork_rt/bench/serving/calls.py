"""What the clients ask for. A seed fixes all of it, so that every server of a run gets the same calls."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from skywork_rt.bench.serve_sim import Arrival as _Arrival
from skywork_rt.bench.serve_sim import poisson
from skywork_rt.errors import InvalidArgumentError

__all__ = ["Call", "Lengths", "Shape", "arrive", "make_calls", "parse_lengths", "read_calls"]

_TEXT = (
    "time year people way day man thing woman life child world school state family student group country "
    "problem hand part place case week company system program question work government number night point home "
    "water room mother area money story fact month lot right study book eye job word business issue side kind "
    "head house service friend father power hour game line end member law car city community name president "
    "team minute idea body information back parent face others level office door health person art war history "
    "party result change morning reason research girl guy moment air teacher force education"
)
_WORDS = _TEXT.split()
"""Most tokenizers have each of these, with the space before it, as one token."""


@dataclass(frozen=True)
class Call:
    """One request, and when it is sent: seconds from the start of its load."""

    prompt: str | tuple[int, ...] | tuple[tuple[str, str], ...]
    """A text, token ids, or the messages of a chat as (role, content)."""
    new_tokens: int
    time: float = 0.0
    stream: bool = True
    leave_after: int | None = None
    """The client closes the connection after this many pieces."""

    @property
    def is_chat(self) -> bool:
        return isinstance(self.prompt, tuple) and bool(self.prompt) and isinstance(self.prompt[0], tuple)


@dataclass(frozen=True)
class Lengths:
    """Numbers of tokens, log-uniform from `least` to `most`, both included."""

    least: int
    most: int

    def draw(self, generator: np.random.Generator, count: int) -> list[int]:
        drawn = np.exp(generator.uniform(math.log(self.least), math.log(self.most + 1), count))
        return [min(self.most, max(self.least, int(length))) for length in drawn]

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}-{self.most}"


@dataclass(frozen=True)
class Shape:
    """How calls are made up."""

    prompt_tokens: Lengths
    output_tokens: Lengths
    vocab_size: int | None = None
    """Prompts are ids below it, drawn evenly, as those of `bench serve-sim`. None: English words."""
    chat: bool = False
    """Each prompt is a user's message of a chat."""
    shared_tokens: int = 0
    """So many tokens at the start of each prompt are those of its group."""
    groups: int = 1
    tokens_per_word: float = 1.0
    """Of the model's tokenizer, for the words above."""
    template_tokens: int = 0
    """Tokens of a prompt that are not its text's: what a chat template or the start of a text adds."""


def parse_lengths(option: str, text: str) -> Lengths:
    """`128` or `16-512`. Raises InvalidArgumentError with the name of the option."""
    least, dash, most = text.partition("-")
    try:
        lengths = Lengths(int(least), int(most if dash else least))
    except ValueError:
        raise InvalidArgumentError(f"{option} is {text!r}, but must be a number or a range such as 16-512") from None
    if not 1 <= lengths.least <= lengths.most <= 2**24:
        raise InvalidArgumentError(
            f"{option} is {text!r}, but a range must go from at least 1 to a number not below it"
        )
    return lengths


def make_calls(shape: Shape, count: int, seed: int) -> list[Call]:
    """`count` calls at time 0. Another seed gives other prompts, which no cache of a server has seen."""
    generator = np.random.default_rng(seed)
    lengths = shape.prompt_tokens.draw(generator, count)
    outputs = shape.output_tokens.draw(generator, count)
    heads = [_Pieces(shape, generator, shape.shared_tokens) for _ in range(max(1, shape.groups))]
    groups = generator.integers(0, len(heads), count).tolist()
    calls = []
    for length, new_tokens, group in zip(lengths, outputs, groups, strict=True):
        tail = _Pieces(shape, generator, max(1, length - shape.shared_tokens - shape.template_tokens))
        calls.append(Call(heads[group].with_tail(tail, shape.chat), new_tokens))
    return calls


class _Pieces:
    """Random ids, or random words that make about as many tokens."""

    def __init__(self, shape: Shape, generator: np.random.Generator, tokens: int) -> None:
        self._ids = shape.vocab_size is not None
        if shape.vocab_size is not None:
            self._pieces: list[Any] = generator.integers(0, shape.vocab_size, tokens).tolist()
        else:
            words = max(1, round(tokens / shape.tokens_per_word)) if tokens else 0
            self._pieces = [_WORDS[i] for i in generator.integers(0, len(_WORDS), words).tolist()]

    def with_tail(self, tail: _Pieces, chat: bool) -> str | tuple[int, ...] | tuple[tuple[str, str], ...]:
        pieces = self._pieces + tail._pieces
        if self._ids:
            return tuple(pieces)
        text = " ".join(pieces)
        return (("user", text),) if chat else text


def arrive(calls: Sequence[Call], rate: float, seed: int) -> list[Call]:
    """The calls as a Poisson stream of `rate` a second, the same as that of `bench serve-sim`; infinite: at once."""
    if math.isinf(rate):
        return list(calls)
    times = [arrival.time for arrival in poisson([_Arrival(0.0, (), 1)] * len(calls), rate, seed)]
    return [replace(call, time=moment) for call, moment in zip(calls, times, strict=True)]


@dataclass
class _Line:
    number: int
    path: Path
    loaded: Any = field(repr=False)

    def wrong(self, what: str) -> InvalidArgumentError:
        return InvalidArgumentError(
            f'{self.path}, line {self.number}: {what}. A line is {{"prompt": TEXT or ids, "output_tokens": N}} or '
            '{"messages": [{"role": …, "content": …}], "output_tokens": N}, with "time" in seconds if it is to be kept'
        )


def read_calls(path: Path) -> list[Call]:
    """A workload of JSON lines. Raises InvalidArgumentError that names the line."""
    calls = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{path} is no UTF-8 text (byte {error.start})") from None
    for number, text in enumerate(lines, 1):
        if text.strip():
            try:
                calls.append(_read_call(_Line(number, path, json.loads(text))))
            except (json.JSONDecodeError, RecursionError) as error:
                raise InvalidArgumentError(f"{path}, line {number} is no JSON: {error}") from None
    if not calls:
        raise InvalidArgumentError(f"{path} has no calls: it needs a line of JSON for each")
    return calls


def _read_call(line: _Line) -> Call:
    loaded = line.loaded
    if not isinstance(loaded, dict):
        raise line.wrong("it must be an object")
    unknown = sorted(set(loaded) - {"prompt", "messages", "output_tokens", "time"})
    if unknown:
        raise line.wrong(f"the field {unknown[0]!r} is not known")
    if ("prompt" in loaded) == ("messages" in loaded):
        raise line.wrong("it needs one of prompt and messages")
    tokens, moment = loaded.get("output_tokens"), loaded.get("time", 0.0)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise line.wrong(f"output_tokens is {tokens!r}, but must be a whole number of at least 1")
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment < 1e9:
        raise line.wrong(f"time is {moment!r}, but must be a number of seconds, at least 0")
    return Call(_read_prompt(line), tokens, float(moment))


def _read_prompt(line: _Line) -> str | tuple[int, ...] | tuple[tuple[str, str], ...]:
    prompt, messages = line.loaded.get("prompt"), line.loaded.get("messages")
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list) and prompt and all(type(i) is int and i >= 0 for i in prompt):
        return tuple(prompt)
    if "prompt" in line.loaded:
        raise line.wrong("prompt must be a text or a list of token ids, and not empty")
    whole = isinstance(messages, list) and bool(messages)
    if not whole or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in messages
    ):
        raise line.wrong("messages must be a list of objects with the texts role and content")
    return tuple((m["role"], m["content"]) for m in messages)
