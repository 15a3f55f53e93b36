"""A Llama as `mindspore.nn` cells, in the two host-cache contracts of docs/bundle-format.md.

Only the structure is made here: parameters are declared and never given data, so compiling a model of any size needs
little memory. `weights.py` writes the data under the same parameter names.

What shapes this file is MindSpore Lite 2.0's CPU runtime. Every Reshape leaves one dimension to be inferred, so that
`Model::Resize` may change any of them; MatMul weights are constants of shape [in, out], which Lite packs once; the norm
divides by a square root, because Lite's Rsqrt is approximate and depends on the number of rows.

This is the only module besides `worker.py` that imports MindSpore; it is imported in the child process alone.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer

from skywork_rt.checkpoints.model import ModelConfig

__all__ = ["FullLlama", "IncrementalLlama"]


def _parameter(*shape: int) -> Parameter:
    """A float32 parameter that holds no data (see `no_init_parameters` in worker.py)."""
    return Parameter(initializer("zeros", shape, ms.float32), requires_grad=False)


class _Linear(nn.Cell):  # type: ignore[misc]  # MindSpore ships no types
    """x [rows, in] times a constant [in, out], plus a bias where the model has one."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = _parameter(inputs, outputs)
        self.bias = _parameter(outputs) if bias else None
        self.matmul = ops.MatMul()
        self.add = ops.Add()

    def construct(self, x: Tensor) -> Tensor:
        y = self.matmul(x, self.weight)
        if self.bias is not None:
            y = self.add(y, self.bias)
        return y


class _RmsNorm(nn.Cell):  # type: ignore[misc]
    """x / sqrt(mean(x²) + eps) * weight over the last dimension (Zhang and Sennrich, 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = _parameter(size)
        self.eps = eps
        self.mul = ops.Mul()
        self.mean = ops.ReduceMean(keep_dims=True)
        self.add = ops.Add()
        self.sqrt = ops.Sqrt()
        self.div = ops.RealDiv()

    def construct(self, x: Tensor) -> Tensor:
        scale = self.sqrt(self.add(self.mean(self.mul(x, x), -1), self.eps))
        return self.mul(self.div(x, scale), self.weight)


class _FeedForward(nn.Cell):  # type: ignore[misc]
    """SwiGLU: down(silu(gate(x)) * up(x)) (Shazeer, 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = _Linear(config.hidden_size, config.intermediate_size, config.mlp_bias)
        self.up = _Linear(config.hidden_size, config.intermediate_size, config.mlp_bias)
        self.down = _Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)
        self.sigmoid = ops.Sigmoid()
        self.mul = ops.Mul()

    def construct(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        return self.down(self.mul(self.mul(gate, self.sigmoid(gate)), self.up(x)))


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


class _TwoPartAttention(nn.Cell):  # type: ignore[misc]
    """Softmax attention over the cached and the new keys, which are never joined in memory.

    With m the larger maximum of both parts: (e^(s1-m)·V1 + e^(s2-m)·V2) / (Σe^(s1-m) + Σe^(s2-m)).
    Queries are [rows, kv_heads, q, head] with the model's 1/sqrt(head) folded into the weights that made them.
    """

    def __init__(self, single: bool) -> None:
        super().__init__()
        self.single = single  # one new token: its part of maximum and sum is the score itself
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.weigh = ops.BatchMatMul()
        self.transpose = ops.Transpose()
        self.max = ops.ReduceMax(keep_dims=True)
        self.sum = ops.ReduceSum(keep_dims=True)
        self.maximum = ops.Maximum()
        self.exp = ops.Exp()
        self.add = ops.Add()
        self.sub = ops.Sub()
        self.mul = ops.Mul()
        self.div = ops.RealDiv()

    def construct(
        self,
        q: Tensor,
        new_key: Tensor,
        new_value: Tensor,
        new_mask: Tensor | None,
        key: Tensor,
        value: Tensor,
        cache_mask: Tensor,
    ) -> Tensor:
        # Keys times queries, not the other way round: Lite copies the second operand at every call, and takes a scalar
        # path for one row. With one query a head this is ten times faster, and transposing the scores costs little.
        cached = self.transpose(self.scores(key, q), (0, 1, 3, 2))
        cached = self.add(cached, cache_mask)
        new = self.scores(q, new_key)
        if self.single:
            peak = self.maximum(self.max(cached, -1), new)
        else:
            new = self.add(new, new_mask)
            peak = self.maximum(self.max(cached, -1), self.max(new, -1))
        cached = self.exp(self.sub(cached, peak))
        new = self.exp(self.sub(new, peak))
        if self.single:
            total = self.add(self.sum(cached, -1), new)
            mixed = self.add(self.weigh(cached, value), self.mul(new, new_value))
        else:
            total = self.add(self.sum(cached, -1), self.sum(new, -1))
            mixed = self.add(self.weigh(cached, value), self.weigh(new, new_value))
        return self.div(mixed, total)


class _Projections(nn.Cell):  # type: ignore[misc]
    """The three input projections and the output projection of an attention block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        q_width, kv_width = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q = _Linear(config.hidden_size, q_width, config.qkv_bias)
        self.k = _Linear(config.hidden_size, kv_width, config.qkv_bias)
        self.v = _Linear(config.hidden_size, kv_width, config.qkv_bias)
        self.output = _Linear(q_width, config.hidden_size, config.output_bias)

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.q(x), self.k(x), self.v(x)


class _Attention(nn.Cell):  # type: ignore[misc]
    """Attention over cache and new tokens. x is [rows, hidden]; the contracts differ in what a row is.

    `config` is that of its layer alone (`ModelConfig.of_layer`). Heads of q and k go through a norm each where the
    model has them (Qwen3), and are turned by rotary unless the layer is one without (SmolLM3).
    """

    def __init__(self, config: ModelConfig, single: bool) -> None:
        super().__init__()
        self.project = _Projections(config)
        self.q_norm = _RmsNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = _RmsNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.rotary = None if config.layers_without_rope else _Rotary()
        self.attend = _TwoPartAttention(single)
        self.reshape = ops.Reshape()
        self.joined = (-1, config.heads * config.head_dim)

    def construct(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache_mask: Tensor,
        new_mask: Tensor | None,
        key: Tensor,
        value: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.project(x)
        q, k = self.split_heads(q, self.q_split), self.split_heads(k, self.kv_split)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rotary is not None:
            q, k = self.rotary(q, cos, sin), self.rotary(k, cos, sin)
        v = self.split_heads(v, self.kv_split)
        # The heads that share one key head are neighbours, so they stack as more rows of the same product.
        mixed = self.attend(self.reshape(q, self.grouped), k, v, new_mask, key, value, cache_mask)
        return self.project.output(self.join_heads(mixed)), k, v


class _FullAttention(_Attention):
    """Of S new tokens of one sequence: a row is a token, heads come before rows."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, single=False)
        self.transpose = ops.Transpose()
        head = config.head_dim
        self.q_split, self.kv_split = (1, -1, config.heads, head), (1, -1, config.kv_heads, head)
        self.grouped, self.heads_apart = (1, config.kv_heads, -1, head), (config.heads, -1, head)

    def split_heads(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self.transpose(self.reshape(x, shape), (0, 2, 1, 3))

    def join_heads(self, mixed: Tensor) -> Tensor:
        return self.reshape(self.transpose(self.reshape(mixed, self.heads_apart), (1, 0, 2)), self.joined)


class _IncrementalAttention(_Attention):
    """Of one new token for each of B sequences: a row is a sequence."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, single=True)
        head, group = config.head_dim, config.heads // config.kv_heads
        self.q_split, self.kv_split = (-1, config.heads, 1, head), (-1, config.kv_heads, 1, head)
        self.grouped = (-1, config.kv_heads, group, head)

    def split_heads(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self.reshape(x, shape)

    def join_heads(self, mixed: Tensor) -> Tensor:
        return self.reshape(mixed, self.joined)


class _Layer(nn.Cell):  # type: ignore[misc]
    """One pre-norm transformer layer around the given attention."""

    def __init__(self, config: ModelConfig, attention: nn.Cell) -> None:
        super().__init__()
        self.input_norm = _RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = attention
        self.post_attention_norm = _RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.feed_forward = _FeedForward(config)
        self.add = ops.Add()

    def construct(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache_mask: Tensor,
        new_mask: Tensor | None,
        key: Tensor,
        value: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixed, new_key, new_value = self.attention(self.input_norm(x), cos, sin, cache_mask, new_mask, key, value)
        x = self.add(x, mixed)
        return self.add(x, self.feed_forward(self.post_attention_norm(x))), new_key, new_value


class _Llama(nn.Cell):  # type: ignore[misc]
    """What both contracts share: embedding, layers, final norm and head."""

    def __init__(self, config: ModelConfig, attention: type[nn.Cell]) -> None:
        super().__init__()
        self.embedding = _parameter(config.vocab_size, config.hidden_size)
        self.layers = nn.CellList([_Layer(config, attention(config.of_layer(i))) for i in range(config.layers)])
        self.norm = _RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.head = _Linear(config.hidden_size, config.vocab_size)
        self.gather = ops.Gather()
        self.reshape = ops.Reshape()

    def embed(self, tokens: Tensor) -> Tensor:
        return self.gather(self.embedding, self.reshape(tokens, (-1,)), 0)

    def run_layers(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache_mask: Tensor,
        new_mask: Tensor | None,
        cache: tuple[Tensor, ...],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        produced: tuple[Tensor, ...] = ()
        for index, layer in enumerate(self.layers):
            x, key, value = layer(x, cos, sin, cache_mask, new_mask, cache[2 * index], cache[2 * index + 1])
            produced = (*produced, key, value)
        return x, produced


class FullLlama(_Llama):
    """`host-cache/full`: any number of new tokens of one sequence, logits for the wanted rows."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, _FullAttention)
        self.group = config.heads // config.kv_heads
        self.stack_rows = ops.Concat(2)

    def construct(
        self,
        tokens: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache_mask: Tensor,
        new_mask: Tensor,
        logit_rows: Tensor,
        *cache: Tensor,
    ) -> tuple[Tensor, ...]:
        if self.group > 1:
            new_mask = self.stack_rows((new_mask,) * self.group)
        x, produced = self.run_layers(self.embed(tokens), cos, sin, cache_mask, new_mask, cache)
        logits = self.head(self.norm(self.gather(x, logit_rows, 0)))
        return (logits, *produced)


class IncrementalLlama(_Llama):
    """`host-cache/incremental`: one new token for each of several sequences."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, _IncrementalAttention)

    def construct(
        self,
        tokens: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache_mask: Tensor,
        *cache: Tensor,
    ) -> tuple[Tensor, ...]:
        x, produced = self.run_layers(self.embed(tokens), cos, sin, cache_mask, None, cache)
        return (self.head(self.norm(x)), *produced)
