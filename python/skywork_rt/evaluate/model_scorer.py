"""Answers from an open Generator."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from skywork_rt.api.generator import Generator
from skywork_rt.api.params import SamplingParams
from skywork_rt.api.stream import Stream
from skywork_rt.errors import InvalidArgumentError, UnsupportedError
from skywork_rt.evaluate.prompts import PromptParts
from skywork_rt.evaluate.scorer import UNANSWERABLE, Scored
from skywork_rt.evaluate.task import CHOICES
from skywork_rt.text.tokenizer import Tokenizer

__all__ = ["ModelScorer", "choice_ids"]

_NUMERIC_OPTIONS = ("backend", "device", "weights", "activations", "kv_cache", "max_length")
"""Options of a generator that numbers depend on; on the backend lite, batches do too, by about 1e-6."""


class ModelScorer:
    """One token a prompt is asked for, with the log-probabilities of the four letters behind it.

    Prompts are submitted in order with a bounded number in flight, and memory does not grow with their number. Those of
    a subject begin alike: backends that can share prompts compute the examples once.
    """

    def __init__(self, generator: Generator, identity: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> None:
        """`identity`: what tells this model's files from others. `tokenizer`: instead of the generator's own."""
        chosen = tokenizer or generator.tokenizer
        if chosen is None:
            raise UnsupportedError(
                "the model has no tokenizer: name one with --tokenizer, or export the bundle with it"
            )
        self._generator = generator
        self._identity = identity
        self._tokenizer = chosen
        self._ids = choice_ids(chosen, generator.model.vocab_size)
        self._params = SamplingParams(max_tokens=1, temperature=0, logprob_token_ids=self._ids)
        self._longest = generator.max_length - 1  # one more is produced behind it
        options = generator.options
        self._in_flight = min(2 * int(options["max_batch"]), int(options["max_queue"]))

    @property
    def name(self) -> str:
        return self._generator.model.name

    def identity(self) -> Mapping[str, Any]:
        options = self._generator.options
        probe = self._tokenizer.encode("".join(CHOICES) + " 答案：\nAnswer: 0.5")
        return {
            **self._identity,
            "model": self.name,
            **{name: options[name] for name in _NUMERIC_OPTIONS},
            "choice_ids": self._ids,
            "tokenizer": hashlib.sha256(repr(probe).encode()).hexdigest()[:16],
        }

    def notes(self, results: Sequence[Scored]) -> list[str]:
        del results
        return []

    def score(self, prompts: Iterable[PromptParts]) -> Iterator[Scored]:
        waiting: deque[tuple[Stream | None, int]] = deque()
        try:
            for parts in prompts:
                waiting.append(self._ask(parts))
                if len(waiting) >= self._in_flight:
                    yield self._answer(*waiting.popleft())
            while waiting:
                yield self._answer(*waiting.popleft())
        finally:
            for stream, _ in waiting:
                if stream is not None:
                    stream.close()

    def _ask(self, parts: PromptParts) -> tuple[Stream | None, int]:
        for shots in range(len(parts.examples), -1, -1):
            ids = self._tokenizer.encode(parts.text(shots))
            if len(ids) <= self._longest:
                return self._generator.stream(ids, self._params), shots
        return None, 0

    def _answer(self, stream: Stream | None, shots: int) -> Scored:
        if stream is None:
            return Scored(UNANSWERABLE, 0)
        logprobs = stream.result.logprobs
        assert logprobs is not None, "they were asked for"
        a, b, c, d = (logprobs[0][token].logprob for token in self._ids)
        return Scored((a, b, c, d), shots)


def choice_ids(tokenizer: Tokenizer, vocab_size: int) -> list[int]:
    """The last id of each letter by itself, as the recipe takes it. Raises InvalidArgumentError when two are one."""
    ids = [tokenizer.encode(letter, add_special_tokens=False)[-1] for letter in CHOICES]
    for place, token in enumerate(ids):
        if token in ids[:place]:
            raise InvalidArgumentError(
                f"the tokenizer gives {CHOICES[ids.index(token)]} and {CHOICES[place]} the same id {token}, so their "
                "answers cannot be told apart: is it this model's?"
            )
        if token >= vocab_size:
            raise InvalidArgumentError(
                f"the tokenizer gives {CHOICES[place]} the id {token}, but the model has {vocab_size}: is it this "
                "model's tokenizer?"
            )
    return ids
