"""A Llama as `mindspore.nn` cells, in the device-cache contract.

Attribute names are MindFormers', because Parameters are named after them. Only the structure is made: Parameters are
declared and never given data. One set of cells serves every gear: sizes come from the shapes of the inputs, which fold
to numbers where a graph has one gear.

x is [rows, hidden] throughout, a row being a token. Weights, cache and arithmetic have one type; norms are computed in
float32, and logits leave as float32.

This module and `caches.py` import MindSpore, in the child process alone.
"""

from __future__ import annotations

import math
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.export.device_cache import FULL, DeviceForm, Role
from skywork_rt.export.graph.ascend.caches import CACHES, CacheInputs
from skywork_rt.export.graph.reference import rotary_tables

__all__ = ["DeviceLlama"]

_MASKED = -10000.0
"""Added to a score that must not count, as in MindFormers: float16 holds it, and its exponential is 0."""


def _parameter(dtype: Any, *shape: int) -> Parameter:
    """A Parameter that holds no data (see `no_init_parameters` in worker.py)."""
    return Parameter(initializer("zeros", shape, dtype), requires_grad=False)


class _Linear(nn.Cell):  # type: ignore[misc]  # MindSpore ships no types
    """x [rows, in] times the transpose of [out, in], plus a bias where the model has one."""

    def __init__(self, inputs: int, outputs: int, dtype: Any, bias: bool = False) -> None:
        super().__init__()
        self.weight = _parameter(dtype, outputs, inputs)
        self.bias = _parameter(dtype, outputs) if bias else None
        self.matmul = ops.MatMul(transpose_b=True)
        self.add = ops.Add()

    def construct(self, x: Tensor) -> Tensor:
        y = self.matmul(x, self.weight)
        if self.bias is not None:
            y = self.add(y, self.bias)
        return y


class _RmsNorm(nn.Cell):  # type: ignore[misc]
    """x / sqrt(mean(x²) + eps) * weight over the last dimension, in float32 (Zhang and Sennrich, 2019)."""

    def __init__(self, size: int, eps: float, dtype: Any) -> None:
        super().__init__()
        self.weight = _parameter(ms.float32, size)
        self.eps, self.dtype = eps, dtype
        self.cast = ops.Cast()
        self.mul = ops.Mul()
        self.mean = ops.ReduceMean(keep_dims=True)
        self.add = ops.Add()
        self.sqrt = ops.Sqrt()
        self.div = ops.RealDiv()

    def construct(self, x: Tensor) -> Tensor:
        x = self.cast(x, ms.float32)
        scale = self.sqrt(self.add(self.mean(self.mul(x, x), -1), self.eps))
        return self.cast(self.mul(self.div(x, scale), self.weight), self.dtype)


class _FeedForward(nn.Cell):  # type: ignore[misc]
    """SwiGLU: w2(silu(w1(x)) * w3(x)) (Shazeer, 2020)."""

    def __init__(self, config: ModelConfig, dtype: Any) -> None:
        super().__init__()
        self.w1 = _Linear(config.hidden_size, config.intermediate_size, dtype)
        self.w3 = _Linear(config.hidden_size, config.intermediate_size, dtype)
        self.w2 = _Linear(config.intermediate_size, config.hidden_size, dtype)
        self.sigmoid = ops.Sigmoid()
        self.mul = ops.Mul()

    def construct(self, x: Tensor) -> Tensor:
        gate = self.w1(x)
        return self.w2(self.mul(self.mul(gate, self.sigmoid(gate)), self.w3(x)))


class _Rotary(nn.Cell):  # type: ignore[misc]
    """Half-split rotary embedding: x * cos + swap_halves(x) * sin, the sine's first half being negated already."""

    def __init__(self) -> None:
        super().__init__()
        self.split = ops.Split(-1, 2)
        self.concat = ops.Concat(-1)
        self.mul = ops.Mul()
        self.add = ops.Add()

    def construct(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        first, second = self.split(x)
        return self.add(self.mul(x, cos), self.mul(self.concat((second, first)), sin))


class _Attend(nn.Cell):  # type: ignore[misc]
    """Softmax attention of q [b, heads, s, head] over k and v [b, kv_heads, p, head], as [b * s, heads * head].

    Heads that share one key head are neighbours, so they stack as more rows of the same product.
    """

    def __init__(self, config: ModelConfig, dtype: Any, single: bool) -> None:
        super().__init__()
        self.single = single
        self.heads, self.kv_heads, self.head = config.heads, config.kv_heads, config.head_dim
        self.scale = Tensor(np.asarray(1.0 / math.sqrt(config.head_dim)), dtype)
        self.grouped = config.heads != config.kv_heads
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.weigh = ops.BatchMatMul()
        self.softmax = ops.Softmax()
        self.transpose = ops.Transpose()
        self.reshape = ops.Reshape()
        self.shape = ops.Shape()
        self.mul = ops.Mul()
        self.add = ops.Add()

    def construct(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        rows, length = self.shape(q)[0], self.shape(k)[2]
        q = self.mul(q, self.scale)
        if self.grouped:
            q = self.reshape(q, (rows, self.kv_heads, -1, self.head))
        scores = self.scores(q, k)
        if self.grouped and not self.single:
            scores = self.reshape(scores, (rows, self.heads, -1, length))
        weights = self.softmax(self.add(scores, mask))
        if self.grouped and not self.single:
            weights = self.reshape(weights, (rows, self.kv_heads, -1, length))
        mixed = self.weigh(weights, v)
        if self.single:
            return self.reshape(mixed, (-1, self.heads * self.head))
        mixed = self.reshape(mixed, (rows, self.heads, -1, self.head))
        return self.reshape(self.transpose(mixed, (0, 2, 1, 3)), (-1, self.heads * self.head))


class _Attention(nn.Cell):  # type: ignore[misc]
    """Projections, rotary, the cache, and attention over it."""

    def __init__(self, config: ModelConfig, form: DeviceForm, role: Role, dtype: Any) -> None:
        super().__init__()
        self.single = role != FULL
        q_width, kv_width = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.wq = _Linear(config.hidden_size, q_width, dtype, config.qkv_bias)
        self.wk = _Linear(config.hidden_size, kv_width, dtype, config.qkv_bias)
        self.wv = _Linear(config.hidden_size, kv_width, dtype, config.qkv_bias)
        self.wo = _Linear(q_width, config.hidden_size, dtype)
        self.kvcache_mgr = CACHES[form.form](config, form, role, dtype)
        self.rotary = _Rotary()
        self.attend = _Attend(config, dtype, self.single)
        self.direct = self.single and form.form == "paged"
        self.q_heads, self.kv_heads = (config.heads, config.head_dim), (config.kv_heads, config.head_dim)
        self.transpose = ops.Transpose()
        self.reshape = ops.Reshape()

    def heads_first(self, x: Tensor, heads: tuple[int, int]) -> Tensor:
        """[b, s, heads, head] as [b, heads, s, head]."""
        if self.single:
            return self.reshape(x, (-1, heads[0], 1, heads[1]))
        return self.transpose(x, (0, 2, 1, 3))

    def construct(
        self, x: Tensor, size: tuple[int, int], cos: Tensor, sin: Tensor, mask: Tensor, cache: tuple[Tensor, ...]
    ) -> Tensor:
        q = self.rotary(self.reshape(self.wq(x), (*size, *self.q_heads)), cos, sin)
        k = self.rotary(self.reshape(self.wk(x), (*size, *self.kv_heads)), cos, sin)
        v = self.reshape(self.wv(x), (*size, *self.kv_heads))
        if self.direct:
            return self.wo(self.kvcache_mgr(q, k, v, cache))
        q = self.heads_first(q, self.q_heads)
        q, k, v = self.kvcache_mgr(q, self.heads_first(k, self.kv_heads), self.heads_first(v, self.kv_heads), cache)
        return self.wo(self.attend(q, k, v, mask))


class _Layer(nn.Cell):  # type: ignore[misc]
    """One pre-norm transformer layer."""

    def __init__(self, config: ModelConfig, form: DeviceForm, role: Role, dtype: Any) -> None:
        super().__init__()
        self.attention_norm = _RmsNorm(config.hidden_size, config.rms_norm_eps, dtype)
        self.attention = _Attention(config, form, role, dtype)
        self.ffn_norm = _RmsNorm(config.hidden_size, config.rms_norm_eps, dtype)
        self.feed_forward = _FeedForward(config, dtype)
        self.add = ops.Add()

    def construct(
        self, x: Tensor, size: tuple[int, int], cos: Tensor, sin: Tensor, mask: Tensor, cache: tuple[Tensor, ...]
    ) -> Tensor:
        x = self.add(x, self.attention(self.attention_norm(x), size, cos, sin, mask, cache))
        return self.add(x, self.feed_forward(self.ffn_norm(x)))


class _Embedding(nn.Cell):  # type: ignore[misc]
    """Rows of the table for tokens of any shape, as [tokens, hidden]."""

    def __init__(self, config: ModelConfig, dtype: Any) -> None:
        super().__init__()
        self.embedding_weight = _parameter(dtype, config.vocab_size, config.hidden_size)
        self.gather = ops.Gather()
        self.reshape = ops.Reshape()

    def construct(self, tokens: Tensor) -> Tensor:
        return self.gather(self.embedding_weight, self.reshape(tokens, (-1,)), 0)


class _Positions(nn.Cell):  # type: ignore[misc]
    """Tables of rotary and the mask of attention, for prompts from position 0 or for one token a row."""

    def __init__(self, config: ModelConfig, form: DeviceForm, role: Role, dtype: Any) -> None:
        super().__init__()
        cos, sin = rotary_tables(config, np.arange(form.positions))
        self.cos, self.sin = Tensor(cos, dtype), Tensor(sin, dtype)
        self.range = Tensor(np.arange(form.positions), ms.int32)
        self.whole = not form.dynamic(role)
        self.head, self.dtype = config.head_dim, dtype
        self.masked = Tensor(np.asarray(_MASKED), dtype)
        self.gather = ops.Gather()
        self.slice = ops.StridedSlice()
        self.reshape = ops.Reshape()
        self.greater = ops.Greater()
        self.cast = ops.Cast()
        self.mul = ops.Mul()

    def first(self, table: Tensor, count: int) -> Tensor:
        """The first rows of a table [positions, head]."""
        return table if self.whole else self.slice(table, (0, 0), (count, self.head), (1, 1))

    def numbers(self, count: int) -> Tensor:
        return self.range if self.whole else self.slice(self.range, (0,), (count,), (1,))

    def prompts(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """For [b, count] tokens: tables [count, 1, head], and a mask [1, 1, count, count] that hides what follows."""
        shape = (-1, 1, self.head)
        numbers = self.numbers(count)
        later = self.greater(self.reshape(numbers, (1, 1, 1, -1)), self.reshape(numbers, (1, 1, -1, 1)))
        mask = self.mul(self.cast(later, self.dtype), self.masked)
        return self.reshape(self.first(self.cos, count), shape), self.reshape(self.first(self.sin, count), shape), mask

    def tokens(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """For one token a row at `position` [b]: tables [b, 1, 1, head]."""
        shape = (-1, 1, 1, self.head)
        cos, sin = self.gather(self.cos, position, 0), self.gather(self.sin, position, 0)
        return self.reshape(cos, shape), self.reshape(sin, shape)

    def behind(self, position: Tensor, length: int) -> Tensor:
        """A mask [b, 1, 1, length] that hides the cache's positions after each row's own."""
        later = self.greater(self.reshape(self.numbers(length), (1, 1, 1, -1)), self.reshape(position, (-1, 1, 1, 1)))
        return self.mul(self.cast(later, self.dtype), self.masked)


class _Model(nn.Cell):  # type: ignore[misc]
    """Embedding, layers and final norm."""

    def __init__(self, config: ModelConfig, form: DeviceForm, role: Role, dtype: Any) -> None:
        super().__init__()
        self.tok_embeddings = _Embedding(config, dtype)
        self.layers = nn.CellList([_Layer(config, form, role, dtype) for _ in range(config.layers)])
        self.norm_out = _RmsNorm(config.hidden_size, config.rms_norm_eps, dtype)

    def construct(
        self,
        tokens: Tensor,
        size: tuple[int, int],
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        cache: tuple[Tensor, ...],
    ) -> Tensor:
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x, size, cos, sin, mask, cache)
        return x


class DeviceLlama(nn.Cell):  # type: ignore[misc]
    """One graph of the pair. Gives logits float32 [b, vocab] of each row's last token (full) or [b, 1, vocab]
    (incremental), the tokens, and MindFormers' mask [b, s]: 2 for a token and 1 for padding."""

    def __init__(self, config: ModelConfig, form: DeviceForm, role: Role) -> None:
        super().__init__()
        dtype = ms.float32 if form.precision == "float32" else ms.float16
        self.single, self.paged, self.whole = role != FULL, form.form == "paged", not form.dynamic(role)
        self.model = _Model(config, form, role, dtype)
        self.lm_head = _Linear(config.hidden_size, config.vocab_size, dtype)
        self.positions = _Positions(config, form, role, dtype)
        self.cache_inputs = CacheInputs(form, role, dtype)
        self.hidden, self.longest = config.hidden_size, form.positions
        self.pad = Tensor(config.pad_id or 0, ms.int32)
        self.one_int, self.one = Tensor(1, ms.int32), Tensor(np.asarray(1.0), ms.float32)
        self.last = ops.Gather(1)
        self.reshape = ops.Reshape()
        self.shape = ops.Shape()
        self.not_equal = ops.NotEqual()
        self.cast = ops.Cast()
        self.sub = ops.Sub()
        self.add = ops.Add()

    def construct(
        self,
        tokens: Tensor,
        batch_valid_length: Tensor,
        batch_index: Tensor | None,
        zactivate_len: Tensor | None,
        block_tables: Tensor | None,
        slot_mapping: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        size = self.shape(tokens)
        position = self.sub(batch_valid_length, self.one_int)
        cache = self.cache_inputs(
            tokens, batch_valid_length, position, batch_index, zactivate_len, block_tables, slot_mapping
        )
        if self.single:
            cos, sin = self.positions.tokens(position)
            mask = None
            if not self.paged:
                mask = self.positions.behind(position, self.longest if self.whole else self.shape(zactivate_len)[0])
        else:
            cos, sin, mask = self.positions.prompts(size[1])
        x = self.model(tokens, size, cos, sin, mask, cache)
        if not self.single:
            x = self.last(self.reshape(x, (*size, self.hidden)), position, 1)
        logits = self.cast(self.lm_head(self.model.norm_out(x)), ms.float32)
        if self.single:
            logits = self.reshape(logits, (*size, -1))
        seen = self.add(self.cast(self.not_equal(tokens, self.pad), ms.float32), self.one)
        return logits, tokens, seen
