"""The part of SamplingParams that Python adds to the core's fields: a grammar, which the core gets compiled."""

from __future__ import annotations

from dataclasses import dataclass

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.grammar.grammar import Grammar

__all__ = ["Constraint"]


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """What outputs must look like."""

    grammar: Grammar | None = None
    """What the output must look like, such as Grammar.json_schema({...}). None: anything. Not with num_beams > 1."""

    def check_grammar(self, num_beams: object) -> None:
        """Refuses what is no Grammar, and one with beams."""
        if self.grammar is None:
            return
        if not isinstance(self.grammar, Grammar):
            raise InvalidArgumentError(
                f"SamplingParams: grammar is a {type(self.grammar).__name__}, but must be a Grammar, such as "
                "Grammar.json_schema({...}), or None"
            )
        if isinstance(num_beams, int) and num_beams > 1:
            raise InvalidArgumentError(
                f"SamplingParams: a grammar is given and num_beams is {num_beams}: a grammar follows samples, not "
                "beams; use num_beams = 1"
            )
