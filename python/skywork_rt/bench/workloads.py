"""What a runtime is asked to do, and what comes back: the same request for every runtime of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trace", "Workload", "random_prompts"]


@dataclass(frozen=True)
class Workload:
    """`batch` prompts of `prompt_tokens` each, `new_tokens` greedy tokens after each, end tokens ignored."""

    name: str
    batch: int
    prompt_tokens: int
    new_tokens: int

    @property
    def length(self) -> int:
        """Tokens of one sequence at its end."""
        return self.prompt_tokens + self.new_tokens


@dataclass(frozen=True)
class Trace:
    """The clock of one run, in seconds from its start."""

    first_token: float
    """When every row had its first token."""
    total: float
    """When every row had its last token."""
    decoded: int
    """Tokens of all rows that came after `first_token`."""
    generated: int
    """All tokens of all rows."""
    gaps: tuple[float, ...] = ()
    """Between one token and the next, for a batch of one."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"gaps": list(self.gaps)}

    @classmethod
    def from_json(cls, loaded: Mapping[str, Any]) -> Trace:
        return cls(**{**loaded, "gaps": tuple(loaded["gaps"])})


def random_prompts(workload: Workload, vocab_size: int, seed: int) -> list[NDArray[np.int32]]:
    """Ids drawn evenly from the vocabulary: no two runs share a prefix that a cache could know."""
    generator = np.random.default_rng(seed)
    shape = (workload.batch, workload.prompt_tokens)
    return list(generator.integers(0, vocab_size, shape, dtype=np.int32))
