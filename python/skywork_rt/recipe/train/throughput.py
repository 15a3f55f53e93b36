"""Tokens a second and, where the device's peak is known, the share of it that the model's arithmetic takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from skywork_rt.checkpoints.model import ModelConfig

__all__ = ["DEVICE_PEAKS", "StepClock", "flops_per_token", "peak_of"]

DEVICE_PEAKS: dict[str, float] = {
    "Ascend910A": 256e12,
    "Ascend910ProA": 256e12,
    "Ascend910ProB": 256e12,
    "Ascend910B3": 313e12,
    "Ascend910B4": 280e12,
    "A100": 312e12,
    "A800": 312e12,
    "H100": 989e12,
    "H800": 989e12,
}
"""Dense float16 operations a second, as the makers publish them, by the beginning of the device's name;
others are given by hand (--peak-tflops)."""


def peak_of(device: str) -> float | None:
    """The peak of a device by its name (spaces and underscores do not count); None for one that is not in the table."""
    name = device.replace(" ", "").replace("_", "").lower()
    found = [key for key in DEVICE_PEAKS if key.lower() in name]
    return DEVICE_PEAKS[max(found, key=len)] if found else None


def flops_per_token(model: ModelConfig, seq_length: int) -> float:
    """Operations of forward and backward a token: 6 N + 12 L H S.

    N counts all weights that are multiplied (all but the embedding table), L layers, H = heads x head size, S the
    length. This is the formula of the PaLM paper (Chowdhery et al. 2022, appendix B); what is computed twice
    (recompute) does not count, nor does it halve attention for the causal mask.
    """
    embedding = 0 if model.tied_embeddings else model.vocab_size * model.hidden_size
    multiplied = model.parameter_count() - embedding
    return 6.0 * multiplied + 12.0 * model.layers * model.heads * model.head_dim * seq_length


class StepClock:
    """Time of steps alone: what happens between `pause` and `resume` (evaluation, saving) does not count."""

    def __init__(self, tokens_per_step: int, clock: Callable[[], float] = time.perf_counter) -> None:
        """`tokens_per_step`: of one card."""
        self._tokens = tokens_per_step
        self._clock = clock
        self._since: float | None = None
        self._seconds = 0.0
        self._steps = 0

    def step_done(self, steps: int = 1) -> float | None:
        """Tokens a second since the last call; None the first time, when the graph was compiled."""
        now = self._clock()
        before, self._since = self._since, now
        if before is None or now <= before:
            return None
        self._seconds += now - before
        self._steps += steps
        return self._tokens * steps / (now - before)

    def resume(self) -> None:
        """The next step begins now."""
        if self._since is not None:
            self._since = self._clock()

    def mean(self) -> float | None:
        """Tokens a second over all steps but the first."""
        return self._tokens * self._steps / self._seconds if self._seconds > 0 else None
