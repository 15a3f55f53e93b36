"""Where the recipe loses the time that lies between its published rows and the roofline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skywork_rt.plan.roofline import FLOAT16, Roofline

__all__ = ["BATCH", "Losses", "Measured", "exported_bytes", "fit", "losses"]

BATCH = 2

HOST_SECONDS = 0.8e-3
"""A row and step of the recipe's greedy search over [B, V] logits in numpy, V = 65519: 0.8 ms at batch 1 and 4 ms at
batch 8, measured on a CPU; sampling takes 4.8 and 26 ms."""


@dataclass(frozen=True)
class Measured:
    """A straight line through published rows: seconds = start + step * generated length."""

    start: float
    """Seconds before the first token, as far as rows tell."""
    step: float
    """Seconds a decode step."""


def fit(rows: Mapping[int, float], batch: int = BATCH) -> Measured:
    """Least squares over the rows of 64 tokens and more; the row of 32 is slower than that of 64 in seconds, too, so
    that it holds something else (a first run)."""
    lengths = np.array([length for length in sorted(rows) if length >= 64], dtype=np.float64)
    seconds = np.array([batch * length / rows[int(length)] for length in lengths])
    step, start = np.polyfit(lengths, seconds, 1)
    return Measured(float(start), float(step))


@dataclass(frozen=True)
class Losses:
    """Seconds a decode step that the recipe spends beside the roofline, and its prefill."""

    roofline: float
    """Weights, and the cache that is in use."""
    whole_cache: float
    """Attention reads all slots of the cache, not those in use."""
    rewriting: float
    """The whole cache is read and written once a token (Assign of a sum with one-hot)."""
    host: float
    """Logits come to the host and are processed by Python."""
    rest: float
    """What the rows show beyond these."""
    prefill_full: float
    """Prompts padded to the full length, at best."""
    prefill_own: float
    """Prompts at their own length, at best."""
    prefill_measured: float


def losses(roofline: Roofline, measured: Measured, prompt: int, new: int, length: int, batch: int = BATCH) -> Losses:
    """Takes a measured step apart. `length`: slots of the cache, to which prompts are padded."""
    device = roofline.device
    used = prompt + new / 2
    slot = batch * roofline.cache_bytes_per_token
    best = roofline.decode_step(batch, used).seconds
    whole = (length - used) * slot / device.bytes_per_second
    rewriting = 2 * length * slot / device.bytes_per_second
    host = batch * HOST_SECONDS
    rest = measured.step - best - whole - rewriting - host
    return Losses(
        best,
        whole,
        rewriting,
        host,
        rest,
        roofline.prefill(length, batch).seconds,
        roofline.prefill(prompt, batch).seconds,
        measured.start,
    )


def exported_bytes(roofline: Roofline, length: int, batch: int) -> int:
    """Bytes of the recipe's two graphs, whose caches of zeros are stored in both files."""
    return 2 * (FLOAT16 * roofline.geometry.parameters + batch * length * roofline.cache_bytes_per_token)
