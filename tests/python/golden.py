"""The golden files of tests/golden, and comparing logits with them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parents[1] / "golden"

#: Largest allowed difference of a logit, as a part of the range of that row's logits.
TOLERANCE = 2e-4


def check_logits(
    logits: NDArray[np.float32],
    columns: NDArray[np.int32],
    expected: NDArray[np.float32],
    logsumexp: NDArray[np.float64],
    spread: NDArray[np.float32],
) -> float:
    """Asserts that logits [rows, vocab] agree in the stored columns and in logsumexp; returns the worst difference as a
    part of the range."""
    limit = TOLERANCE * spread
    difference = np.abs(logits[:, columns] - expected).max(axis=1)
    worst = int((difference / limit).argmax())
    assert (difference <= limit).all(), f"row {worst}: off by {difference[worst]:.2e}, allowed is {limit[worst]:.2e}"
    top = logits.max(axis=1, keepdims=True).astype(np.float64)
    found = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    assert (np.abs(found - logsumexp) <= limit).all(), f"logsumexp is off by {np.abs(found - logsumexp).max():.2e}"
    return float((difference / spread).max())


@dataclass(frozen=True)
class RandomGolden:
    """One random model's ids, logits of all of its positions, and greedy continuation."""

    ids: list[int]
    greedy: list[int]
    arrays: dict[str, Any]

    @classmethod
    def load(cls, name: str) -> RandomGolden:
        arrays = {
            key.split("/")[1]: value
            for key, value in _arrays("random_models.npz").items()
            if key.startswith(name + "/")
        }
        return cls(arrays["ids"].tolist(), arrays["greedy"].tolist(), arrays)

    def check(self, logits: NDArray[np.float32], rows: Iterable[int]) -> float:
        """Compares logits [len(rows), vocab] of the given positions."""
        index = np.array(list(rows))
        stored = self.arrays
        return check_logits(
            logits, stored["columns"], stored["logits"][index], stored["logsumexp"][index], stored["range"][index]
        )


@dataclass(frozen=True)
class SmolPrompt:
    """A prompt of SmolLM2 with 40 greedy ids and, for each, the distance to the second best logit."""

    name: str
    text: str
    ids: list[int]
    greedy: list[int]
    margins: list[float]
    greedy_text: str


@dataclass(frozen=True)
class SmolGolden:
    """Everything of smollm2.json and smollm2_logits.npz."""

    prompts: dict[str, SmolPrompt]
    data: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @classmethod
    @cache
    def load(cls) -> SmolGolden:
        data = json.loads((GOLDEN / "smollm2.json").read_text())
        prompts = {entry["name"]: SmolPrompt(**entry) for entry in data["prompts"]}
        return cls(prompts, data, _arrays("smollm2_logits.npz"))

    def positions(self, name: str) -> list[int]:
        """The positions whose logits are stored: the first 40 and the last."""
        return [int(p) for p in self.arrays[f"{name}/positions"]]

    def check(self, name: str, logits: NDArray[np.float32], positions: Iterable[int]) -> float:
        """Compares logits [len(positions), vocab] of the given positions of one prompt."""
        stored = self.positions(name)
        index = np.array([stored.index(int(p)) for p in positions])
        return check_logits(
            logits,
            self.arrays["columns"],
            self.arrays[f"{name}/logits"][index],
            self.arrays[f"{name}/logsumexp"][index],
            self.arrays[f"{name}/range"][index],
        )


@cache
def _arrays(file: str) -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / file) as stored:
        return {name: stored[name] for name in stored.files}
