"""A plain Llama in numpy float32 with a KV cache: what every exported graph is compared with.

It follows transformers' `LlamaForCausalLM`, `Qwen3ForCausalLM` and `SmolLM3ForCausalLM` (golden files in the tests hold
it to that), reads any `Source` and asks for one layer's tensors at a time, so a model that does not fit into memory can
still be run, slowly.

    model = ReferenceLlama(source)
    cache = model.new_cache()
    logits = model.forward([504, 3575, 282], cache)      # float32 [3, vocab_size]
    logits = model.forward([4649], cache)                # continues; float32 [1, vocab_size]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skywork_rt.checkpoints.model import Float32Array, ModelConfig, Source
from skywork_rt.errors import InvalidArgumentError

__all__ = ["KvCache", "ReferenceLlama", "rotary_tables"]


@dataclass
class KvCache:
    """What one sequence has cached: a layer's rotated keys and its values, float32 [kv_heads, length, head_dim]."""

    keys: list[Float32Array] = field(default_factory=list)
    values: list[Float32Array] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens that are cached."""
        return self.keys[0].shape[1] if self.keys else 0


def rotary_tables(config: ModelConfig, positions: ArrayLike) -> tuple[Float32Array, Float32Array]:
    """Cosine and sine [positions, head_dim] as the graph contract wants them (the sine's first half negated).

    The angle is a float32 product, as in transformers; cosine and sine of it are rounded once from float64.
    """
    inverse = np.asarray(config.rope.inverse_frequencies, np.float32)
    angles = np.multiply.outer(np.asarray(positions, np.float32), inverse).astype(np.float64)
    cos = (np.cos(angles) * config.rope.attention_factor).astype(np.float32)
    sin = (np.sin(angles) * config.rope.attention_factor).astype(np.float32)
    return np.concatenate([cos, cos], axis=-1), np.concatenate([-sin, sin], axis=-1)


class ReferenceLlama:
    """A model over a `Source`. With `keep` its tensors stay in memory after their first use (faster, much larger)."""

    def __init__(self, source: Source, *, keep: bool = True) -> None:
        self.config = source.config
        self._source = source
        self._kept: dict[str, Float32Array] | None = {} if keep else None

    def new_cache(self) -> KvCache:
        """An empty cache for one sequence."""
        shape = (self.config.kv_heads, 0, self.config.head_dim)
        return KvCache(
            [np.zeros(shape, np.float32) for _ in range(self.config.layers)],
            [np.zeros(shape, np.float32) for _ in range(self.config.layers)],
        )

    def forward(self, tokens: Sequence[int], cache: KvCache | None = None) -> Float32Array:
        """Logits [len(tokens), vocab_size] of the tokens that follow what `cache` holds; extends it by them."""
        return self.forward_many([(tokens, cache or self.new_cache())])[0]

    def forward_many(self, chunks: Sequence[tuple[Sequence[int], KvCache]]) -> list[Float32Array]:
        """`forward` for several sequences, reading every tensor once. Raises InvalidArgumentError for bad tokens."""
        embedding = self._tensor("embed_tokens")
        rows = [embedding[self._checked(tokens)] for tokens, _ in chunks]
        del embedding
        tables = [
            rotary_tables(self.config, np.arange(cache.length, cache.length + len(tokens))) for tokens, cache in chunks
        ]
        for layer in range(self.config.layers):
            weights = _Layer(self, layer)
            for index, (_, cache) in enumerate(chunks):
                rows[index] = weights.forward(rows[index], cache, *tables[index])
        norm = self._tensor("norm")
        head = self._tensor("embed_tokens" if self.config.tied_embeddings else "lm_head")
        return [rms_norm(x, norm, self.config.rms_norm_eps) @ head.T for x in rows]

    def greedy(self, tokens: Sequence[int], count: int) -> Iterator[int]:
        """The next `count` tokens, each the most likely one (the lowest id among equals); end ids are not special."""
        cache = self.new_cache()
        logits = self.forward(tokens, cache)
        for _ in range(count):
            best = int(np.argmax(logits[-1]))
            yield best
            logits = self.forward([best], cache)

    def _checked(self, tokens: Sequence[int]) -> NDArray[np.int64]:
        ids = np.asarray(tokens, np.int64)
        if ids.ndim != 1 or ids.size == 0:
            raise InvalidArgumentError(f"tokens must be a list of at least one id; got shape {list(ids.shape)}")
        outside = ids[(ids < 0) | (ids >= self.config.vocab_size)]
        if outside.size:
            raise InvalidArgumentError(f"token id {outside[0]} is outside the vocabulary of {self.config.vocab_size}")
        return ids

    def _tensor(self, name: str) -> Float32Array:
        if self._kept is None:
            return self._source.tensor(name)
        if name not in self._kept:
            self._kept[name] = self._source.tensor(name)
        return self._kept[name]


class _Layer:
    """One transformer layer with its weights."""

    def __init__(self, model: ReferenceLlama, index: int) -> None:
        self._config = model.config
        self._index = index
        prefix = f"layers.{index}."
        names = [name for name in model.config.tensor_shapes() if name.startswith(prefix)]
        self._weights = {name.removeprefix(prefix): model._tensor(name) for name in names}

    def forward(self, x: Float32Array, cache: KvCache, cos: Float32Array, sin: Float32Array) -> Float32Array:
        """One layer over x [new, hidden]; extends this layer's cache."""
        eps = self._config.rms_norm_eps
        x = x + self._attention(rms_norm(x, self._weights["input_norm"], eps), cache, cos, sin)
        return x + self._feed_forward(rms_norm(x, self._weights["post_attention_norm"], eps))

    def _linear(self, x: Float32Array, part: str) -> Float32Array:
        """x through the matrix `part`, with its bias where the model has one."""
        y: Float32Array = x @ self._weights[f"{part}_proj"].T
        bias = self._weights.get(f"{part}_bias")
        return y if bias is None else y + bias

    def _project(self, x: Float32Array, part: str, heads: int) -> Float32Array:
        """x through one input projection and the norm behind it, as [heads, new, head_dim]."""
        y = self._linear(x, part).reshape(len(x), heads, self._config.head_dim).transpose(1, 0, 2)
        norm = self._weights.get(f"{part}_norm")
        return y if norm is None else rms_norm(y, norm, self._config.rms_norm_eps)

    def _attention(self, x: Float32Array, cache: KvCache, cos: Float32Array, sin: Float32Array) -> Float32Array:
        config = self._config
        q, k = self._project(x, "q", config.heads), self._project(x, "k", config.kv_heads)
        if self._index not in config.layers_without_rope:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        v = self._project(x, "v", config.kv_heads)
        keys = cache.keys[self._index] = np.concatenate([cache.keys[self._index], k], axis=1)
        values = cache.values[self._index] = np.concatenate([cache.values[self._index], v], axis=1)
        group = config.heads // config.kv_heads
        scores = q @ np.repeat(keys, group, axis=0).transpose(0, 2, 1) * np.float32(config.head_dim**-0.5)
        new, length = len(x), keys.shape[1]
        visible = np.arange(length)[None, :] <= np.arange(length - new, length)[:, None]
        weights = softmax(np.where(visible, scores, np.float32(-np.inf)))
        mixed = weights @ np.repeat(values, group, axis=0)
        joined: Float32Array = mixed.transpose(1, 0, 2).reshape(new, -1)
        return self._linear(joined, "o")

    def _feed_forward(self, x: Float32Array) -> Float32Array:
        return self._linear(silu(self._linear(x, "gate")) * self._linear(x, "up"), "down")


def rms_norm(x: Float32Array, weight: Float32Array, eps: float) -> Float32Array:
    """x / sqrt(mean(x²) + eps) * weight over the last dimension."""
    scale: Float32Array = np.sqrt(np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32) + np.float32(eps))
    return x / scale * weight


def rotate(x: Float32Array, cos: Float32Array, sin: Float32Array) -> Float32Array:
    """Half-split rotary embedding of x [heads, new, head_dim] with the tables of `rotary_tables`."""
    first, second = np.split(x, 2, axis=-1)
    swapped: Float32Array = np.concatenate([second, first], axis=-1)
    return x * cos + swapped * sin


def silu(x: Float32Array) -> Float32Array:
    """x * sigmoid(x), without overflow for large negative x."""
    decay: Float32Array = np.exp(-np.abs(x))
    numerator: Float32Array = np.where(x >= 0, np.float32(1), decay)
    return x * numerator / (np.float32(1) + decay)


def softmax(scores: Float32Array) -> Float32Array:
    """Softmax over the last dimension; at least one score of each row is finite."""
    weights: Float32Array = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total: Float32Array = weights.sum(axis=-1, keepdims=True)
    return weights / total
