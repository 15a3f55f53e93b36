"""What answers questions: four log-probabilities a prompt, from a model of ours or from a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from skywork_rt.evaluate.prompts import PromptParts
from skywork_rt.evaluate.task import CHOICES

__all__ = ["Scored", "Scorer", "best_choice"]


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of A to D behind the prompt, over the whole vocabulary; None where they are not known.

    All are None when there was no room for the question alone. `shots`: examples that its prompt had.
    """

    logprobs: tuple[float | None, float | None, float | None, float | None]
    shots: int
    detour: str = ""
    """How letters were found that the usual way did not bring; empty when it brought all."""

    @property
    def answered(self) -> bool:
        return any(value is not None for value in self.logprobs)


UNANSWERABLE = (None, None, None, None)


class Scorer(Protocol):
    """Opened once for an evaluation."""

    @property
    def name(self) -> str:
        """Of the model, for people."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """All that its numbers depend on, as JSON: results of two that differ are not mixed."""
        ...

    def score(self, prompts: Iterable[PromptParts]) -> Iterator[Scored]:
        """Answers in the prompts' order, which are taken as there is room, not all at once."""
        ...

    def notes(self, results: Sequence[Scored]) -> list[str]:
        """What a reader of the numbers must know about how all these came about."""
        ...


def best_choice(scored: Scored) -> str | None:
    """The likeliest letter, the first among equals, as an argmax takes it; None for what was not answered."""
    known = [(value, -place) for place, value in enumerate(scored.logprobs) if value is not None]
    return CHOICES[-max(known)[1]] if known else None
