"""What a model's shape says about its work: numbers to keep, to read and to multiply a token."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skywork_rt.checkpoints.model import ModelConfig

__all__ = ["Geometry", "Matrix"]


@dataclass(frozen=True)
class Matrix:
    """A matrix that activations are multiplied by: [rows, cols], rows are outputs."""

    name: str
    rows: int
    cols: int

    @property
    def size(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True)
class Geometry:
    """Counts that follow from a shape. One multiply-add is two floating-point operations."""

    config: ModelConfig

    @property
    def parameters(self) -> int:
        """All trained numbers, a tied head counted once."""
        return self.config.parameter_count()

    @property
    def embedding(self) -> int:
        """Numbers of the embedding table, of which a token reads one row."""
        return self.config.vocab_size * self.config.hidden_size

    @property
    def read_parameters(self) -> int:
        """Numbers that a decode step reads: all but an embedding table of its own."""
        return self.parameters - (0 if self.config.tied_embeddings else self.embedding)

    def layer_matrices(self) -> list[Matrix]:
        """Matrices of one layer, in the order of a forward pass."""
        shapes = self.config.tensor_shapes()
        own = [(name, shape) for name, shape in shapes.items() if name.startswith("layers.0.") and len(shape) == 2]
        return [Matrix(name.removeprefix("layers.0."), shape[0], shape[1]) for name, shape in own]

    @property
    def head(self) -> Matrix:
        return Matrix("lm_head", self.config.vocab_size, self.config.hidden_size)

    @property
    def layer_products(self) -> int:
        """Multiply-adds with weights that a token takes in all layers."""
        return self.config.layers * sum(matrix.size for matrix in self.layer_matrices())

    @property
    def cache_numbers(self) -> int:
        """Keys and values of one token."""
        return 2 * self.config.layers * self.config.kv_heads * self.config.head_dim

    def attention_products(self, context: float) -> float:
        """Multiply-adds of one token that attends to `context` positions: scores and values."""
        return 2.0 * self.config.layers * self.config.heads * self.config.head_dim * context

    def decode_flops(self, context: float) -> float:
        """Floating-point operations of one token over `context` positions, its logits included."""
        return 2.0 * (self.layer_products + self.head.size + self.attention_products(context))

    def prefill_flops(self, tokens: int) -> float:
        """Floating-point operations of a prompt of `tokens` tokens; logits of the last one only, and each attends to
        what lies before it (Chowdhery et al. 2022, appendix B, without the backward pass)."""
        attention = self.attention_products((tokens + 1) / 2) * tokens
        return 2.0 * (self.layer_products * tokens + attention + self.head.size)

    @property
    def group(self) -> int:
        """Query heads that share a key/value head."""
        return math.ceil(self.config.heads / self.config.kv_heads)
