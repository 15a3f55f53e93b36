"""The two graph contracts of docs/bundle-format.md as data: names, shapes and dtypes of every input and output.

Knows nothing of MindSpore: the exporter, the verifier and the tests all read the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from skywork_rt.checkpoints.model import ModelConfig

__all__ = [
    "CONTRACTS",
    "FLAVOUR",
    "FULL",
    "INCREMENTAL",
    "MASKED",
    "PRECISION",
    "Contract",
    "Sizes",
    "TensorSpec",
    "input_specs",
    "output_specs",
]

Contract = Literal["host-cache/full", "host-cache/incremental"]

FULL: Contract = "host-cache/full"
INCREMENTAL: Contract = "host-cache/incremental"
CONTRACTS: tuple[Contract, ...] = (FULL, INCREMENTAL)

FLAVOUR = "lite2.0-cpu"
PRECISION = "float32"

MASKED = -1e30
"""Added to a score that must not count. Finite, so that a wholly masked part gives zeros and never NaN."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype of one input or output of a graph."""

    name: str
    shape: tuple[int, ...]
    dtype: DTypeLike = np.float32


@dataclass(frozen=True)
class Sizes:
    """The dimensions that `Model::Resize` changes.

    `rows` (B) counts sequences: 1 in the full graph. `new` (S) counts new tokens a row: 1 in the incremental graph.
    `cached` (P) counts slots of the cache, `wanted` (R) the rows of the full graph whose logits are computed.
    """

    rows: int = 1
    new: int = 1
    cached: int = 1
    wanted: int = 1


def input_specs(contract: Contract, config: ModelConfig, sizes: Sizes) -> list[TensorSpec]:
    """The inputs in the order of the file."""
    rows, new, cached, head = sizes.rows, sizes.new, sizes.cached, config.head_dim
    specs = [
        TensorSpec("tokens", (rows, new), np.int32),
        TensorSpec("cos", (rows, 1, new, head)),
        TensorSpec("sin", (rows, 1, new, head)),
        TensorSpec("cache_mask", (rows, 1, 1, cached)),
    ]
    if contract == FULL:
        specs.append(TensorSpec("new_mask", (rows, 1, new, new)))
        specs.append(TensorSpec("logit_rows", (sizes.wanted,), np.int32))
    for layer in range(config.layers):
        for part in ("key", "value"):
            specs.append(TensorSpec(f"{part}_{layer}", (rows, config.kv_heads, cached, head)))
    return specs


def output_specs(contract: Contract, config: ModelConfig, sizes: Sizes) -> list[TensorSpec]:
    """The outputs in the order of the file."""
    wanted = sizes.wanted if contract == FULL else sizes.rows
    specs = [TensorSpec("logits", (wanted, config.vocab_size))]
    for layer in range(config.layers):
        for part in ("key", "value"):
            shape = (sizes.rows, config.kv_heads, sizes.new, config.head_dim)
            specs.append(TensorSpec(f"new_{part}_{layer}", shape))
    return specs
