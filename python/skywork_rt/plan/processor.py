"""How fast the native backend decodes and reads prompts on a probed processor: a sum over the products of a pass.

Constants come from the probe alone, the same for every shape: a product takes about the longer of reading its weights
and of its arithmetic, and packing its activations; attention reads keys and values and multiplies; parallel regions
begin and end.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skywork_rt.errors import InvalidArgumentError
from skywork_rt.plan.geometry import Geometry, Matrix
from skywork_rt.plan.probe import Probe, between

__all__ = ["Processor", "kinds_of", "packed_bytes"]

PASS = 96
"""Tokens of a pass (kMostTokens of the kernels)."""
_REGIONS = 6
"""Parallel regions of a layer: q k v, attention, output, gate and up, down, and packing."""
_TILE = 24
"""Queries that attention takes at a time (kMostQueries)."""
_FLOAT = 4
_OVERLAP = 3
"""Reading and arithmetic hide each other but where they take about as long: the third root of their cubes' sum was
within 5 % of the kernels at 2 to 16 tokens, where their maximum was up to 25 % below."""
_FEW_ROWS = 4
"""Rows up to which small steps run on one thread (kFewRows of the decoder)."""


@dataclass(frozen=True)
class Processor:
    """A model of packed weights on the native backend. Times in seconds."""

    geometry: Geometry
    probe: Probe
    weights: str
    activations: str = "f32"

    def __post_init__(self) -> None:
        for kind in kinds_of(self.weights):
            if (kind, self.activations) not in self.probe.products:
                raise InvalidArgumentError(f"the probe has no {kind} weights with {self.activations} activations")

    @functools.cached_property
    def bytes_read(self) -> int:
        """Packed weights that one decode step reads."""
        layers = sum(packed_bytes(matrix, self.weights) for matrix in self.geometry.layer_matrices())
        return self.geometry.config.layers * layers + packed_bytes(self.geometry.head, self._head_kind())

    def decode(self, context: float, batch: int = 1) -> float:
        """A step of `batch` rows that have `context` tokens each."""
        return self._pass(batch, batch * context, shared=self.geometry.group, rows_with_logits=batch)

    def prefill(self, tokens: int) -> float:
        """A prompt of `tokens` tokens, in passes, up to the logits of its last token."""
        seconds = 0.0
        for begin in range(0, tokens, PASS):
            count = min(PASS, tokens - begin)
            seen = count * (begin + (count + 1) / 2)
            seconds += self._pass(count, seen, shared=_TILE, rows_with_logits=int(begin + count == tokens))
        return seconds

    def _pass(self, tokens: int, positions: float, *, shared: int, rows_with_logits: int) -> float:
        """`positions`: of all tokens together that attention sees; `shared`: queries that share reading one of them."""
        config = self.geometry.config
        cache = 2 * _FLOAT * config.kv_heads * config.head_dim * config.layers * positions / max(1, tokens // shared)
        reads = self.bytes_read + cache  # a step: what a cache of the processor would have to hold
        layer = sum(self._product(matrix, self.weights, tokens, reads) for matrix in self.geometry.layer_matrices())
        layer += self._packing(tokens) + self._passing(tokens)
        layer += _REGIONS * self.probe.region + self._attention(positions, shared, reads)
        seconds = config.layers * layer
        if rows_with_logits:
            pack = between(self.probe.products[self._head_kind(), self.activations].pack, rows_with_logits)
            seconds += config.hidden_size * rows_with_logits * pack
            seconds += self._product(self.geometry.head, self._head_kind(), rows_with_logits, reads)
        return seconds

    def _product(self, matrix: Matrix, kind: str, tokens: int, reads: float) -> float:
        costs = self.probe.products[kind, self.activations]
        reading = packed_bytes(matrix, kind) / between(costs.read, reads)
        if tokens == 1:  # its arithmetic is in the rate of reading
            return reading
        computing = matrix.size * tokens * between(costs.multiply, tokens)
        return float(np.linalg.norm((reading, computing), _OVERLAP))

    def _packing(self, tokens: int) -> float:
        """Of a layer's inputs: q, k and v share one, as do gate and up."""
        config = self.geometry.config
        packed = 2 * config.hidden_size + config.heads * config.head_dim + config.intermediate_size
        return packed * tokens * between(self.probe.products[self.weights, self.activations].pack, tokens)

    def _passing(self, tokens: int) -> float:
        """Norms, rotary, storing keys and values, and SwiGLU: each passes over its numbers once, which takes about what
        packing many of them does; a few rows are left to one thread."""
        config = self.geometry.config
        heads = config.heads + 2 * config.kv_heads
        passed = 2 * config.hidden_size + heads * config.head_dim + config.intermediate_size
        threads = self.probe.threads if tokens <= _FEW_ROWS else 1
        return passed * tokens * threads * between(self.probe.products[self.weights, self.activations].pack, PASS)

    def _attention(self, positions: float, shared: int, reads: float) -> float:
        config = self.geometry.config
        per_head = config.head_dim * positions
        reading = 2 * _FLOAT * config.kv_heads * per_head / between(self.probe.cache_read, reads)
        if shared >= _TILE:  # a tile of tokens reads a block once, and the next tile finds it in a cache
            reading = 0.0
        return reading + config.heads * per_head * self.probe.attend

    def _head_kind(self) -> str:
        return kinds_of(self.weights)[-1]


def kinds_of(weights: str) -> tuple[str, ...]:
    """Types of the matrices in a file of such weights, the head's last: int4 keeps embedding and head at int8."""
    return ("int4", "int8") if weights == "int4" else (weights,)


@functools.cache
def _facts(kind: str) -> Mapping[str, Any]:
    from skywork_rt._core import weight_types

    return next(facts for facts in weight_types() if facts["name"] == kind)


def packed_bytes(matrix: Matrix, kind: str) -> int:
    """Bytes of a packed matrix: panels of 16 rows by groups of 32 inputs."""
    facts = _facts(kind)
    panels, groups = -(-matrix.rows // 16), -(-matrix.cols // 32)
    units = -(-groups // facts["scale_groups"])
    scales = -(-units * facts["scale_bytes"] // 64) * 64
    return int(panels * (scales + groups * facts["code_bytes"]))
