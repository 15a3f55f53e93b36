"""The caches of the three forms: Parameters, what writes them, and what attention reads.

MindFormers' KVCacheMgr and PagedAttentionMgr in our words. Each cell takes q, k and v of the new tokens and what
`CacheInputs` computed once for all layers. Gears smaller than the cache are made as large as it by gathering rows and
positions again, which are then masked or never seen.

The four operations of forms indexed and paged have no kernel on a CPU, and MindSpore 2.7 has lost two of them and
changed the others since MindFormers 1.0: they are declared here with the inputs and attributes of MindSpore 2.2, under
names of our own that legalise.py replaces in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer
from mindspore.ops import PrimitiveWithInfer
from mindspore.ops import signature as sig

from skywork_rt.checkpoints.model import ModelConfig
from skywork_rt.export.device_cache import FULL, INCREMENTAL, DeviceForm, Role
from skywork_rt.export.graph.ascend.ops import OPERATIONS, STAND_IN

__all__ = ["CACHES", "CacheInputs"]


class _Operation(PrimitiveWithInfer):  # type: ignore[misc]
    """An operation of `OPERATIONS`, whose output has the shape and type of its first input."""

    def __init__(self, name: str, **attributes: Any) -> None:
        super().__init__(STAND_IN + name)
        known = OPERATIONS[name]
        self.set_signatures(
            [
                sig.make_sig(given, sig.sig_rw.RW_WRITE if given in known.writes else sig.sig_rw.RW_READ)
                for given in known.inputs
            ]
        )
        self.init_prim_io_names(inputs=list(known.inputs), outputs=["out"])
        if known.writes:
            self.add_prim_attr("side_effect_mem", True)
        for key, value in attributes.items():
            self.add_prim_attr(key, value)

    def infer_shape(self, first: Any, *_: Any) -> Any:
        return first

    def infer_dtype(self, first: Any, *_: Any) -> Any:
        return first


def _cache(config: ModelConfig, form: DeviceForm, dtype: Any) -> Parameter:
    return Parameter(initializer("zeros", form.cache_shape(config), dtype), requires_grad=False)


class _Widen(nn.Cell):  # type: ignore[misc]
    """Makes rows and positions of a gear as many as the cache has, by repeating the last."""

    def __init__(self) -> None:
        super().__init__()
        self.gather = ops.Gather()

    def construct(self, x: Tensor, index: Tensor | None, axis: int) -> Tensor:
        return x if index is None else self.gather(x, index, axis)


class CacheInputs(nn.Cell):  # type: ignore[misc]
    """What the caches of all layers need of a call, computed once.

    assign: a mask [rows, 1, positions, 1] of the positions that are written, and two indices, of rows and positions,
    that widen a gear (None where the graph has one). indexed: lengths int64 [b], rows of the cache with the three
    numbers that MindFormers appends, and the index of positions. paged: lengths, tables and slots as they came.
    """

    def __init__(self, form: DeviceForm, role: Role, dtype: Any) -> None:
        super().__init__()
        self.form, self.full, self.whole, self.dtype = form.form, role == FULL, not form.dynamic(role), dtype
        self.rows, self.positions = Tensor(np.arange(form.rows), ms.int32), Tensor(np.arange(form.positions), ms.int32)
        self.zero, self.one = Tensor(0, ms.int32), Tensor(1, ms.int32)
        self.padding = Tensor([3], ms.int64)
        self.ones_like = ops.OnesLike()
        self.sum = ops.ReduceSum()
        self.minimum = ops.Minimum()
        self.less = ops.Less()
        self.equal = ops.Equal()
        self.gather = ops.Gather()
        self.concat = ops.Concat(0)
        self.reshape = ops.Reshape()
        self.cast = ops.Cast()
        self.mul = ops.Mul()
        self.add = ops.Add()
        self.sub = ops.Sub()

    def count(self, vector: Tensor) -> Tensor:
        """How many elements, as a tensor: arithmetic with it needs no conversion of numbers on the device."""
        return self.cast(self.sum(self.ones_like(self.cast(vector, ms.float32)), 0), ms.int32)

    def widened(self, vector: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The index that repeats the last of `vector`, and the mask of `numbers` that are no repetition."""
        count = self.count(vector)
        return self.minimum(numbers, self.sub(count, self.one)), self.less(numbers, count)

    def assign(self, written: Tensor, zactivate_len: Tensor) -> tuple[Tensor | None, ...]:
        row_index, position_index = None, None
        if not self.whole:
            row_index, real = self.widened(written, self.rows)
            # Rows that repeat another write nowhere: no position is below 0, nor is -1.
            written = self.add(self.gather(written, row_index, 0), self.one)
            written = self.sub(self.mul(written, self.cast(real, ms.int32)), self.one)
            if self.full:
                position_index, _ = self.widened(zactivate_len, self.positions)
        written = self.reshape(written, (-1, 1, 1, 1))
        numbers = self.reshape(self.positions, (1, 1, -1, 1))
        mask = self.less(numbers, written) if self.full else self.equal(numbers, written)
        return self.cast(mask, self.dtype), row_index, position_index

    def indexed(self, length: Tensor, batch_index: Tensor, zactivate_len: Tensor) -> tuple[Tensor | None, ...]:
        position_index = None
        if self.full:
            length = self.mul(length, self.zero)  # a prompt is written from position 0
            if not self.whole:
                position_index, _ = self.widened(zactivate_len, self.positions)
        return self.cast(length, ms.int64), self.concat((batch_index, self.padding)), position_index

    def construct(
        self,
        tokens: Tensor,
        batch_valid_length: Tensor,
        position: Tensor,
        batch_index: Tensor | None,
        zactivate_len: Tensor | None,
        block_tables: Tensor | None,
        slot_mapping: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        if self.form == "paged":
            return batch_valid_length, block_tables, slot_mapping
        written = batch_valid_length if self.full else position
        if self.form == "assign":
            return (*self.assign(written, zactivate_len), zactivate_len)
        return (*self.indexed(written, batch_index, zactivate_len), zactivate_len)


class _Seen(nn.Cell):  # type: ignore[misc]
    """What a step of one token attends to: the first rows and positions of the cache, as many as the gear has."""

    def __init__(self, config: ModelConfig, form: DeviceForm) -> None:
        super().__init__()
        self.whole = not form.dynamic(INCREMENTAL)
        self.heads, self.head = config.kv_heads, config.head_dim
        self.slice = ops.StridedSlice()
        self.shape = ops.Shape()

    def construct(self, cache: Tensor, q: Tensor, zactivate_len: Tensor) -> Tensor:
        if self.whole:
            return cache
        end = (self.shape(q)[0], self.heads, self.shape(zactivate_len)[0], self.head)
        return self.slice(cache, (0, 0, 0, 0), end, (1, 1, 1, 1))


class _AssignCache(nn.Cell):  # type: ignore[misc]
    """A prompt replaces the whole cache; a token is added to the zeros at its position."""

    def __init__(self, config: ModelConfig, form: DeviceForm, role: Role, dtype: Any) -> None:
        super().__init__()
        self.full = role == FULL
        self.key_past, self.value_past = _cache(config, form, dtype), _cache(config, form, dtype)
        self.widen, self.seen = _Widen(), _Seen(config, form)
        self.assign = ops.Assign()
        self.mul = ops.Mul()
        self.add = ops.Add()

    def construct(self, q: Tensor, k: Tensor, v: Tensor, cache: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        mask, rows, positions, zactivate_len = cache
        key = self.mul(self.widen(self.widen(k, rows, 0), positions, 2), mask)
        value = self.mul(self.widen(self.widen(v, rows, 0), positions, 2), mask)
        if not self.full:
            key, value = self.add(self.key_past, key), self.add(self.value_past, value)
        self.assign(self.key_past, key)
        self.assign(self.value_past, value)
        if self.full:
            return q, k, v
        return q, self.seen(key, q, zactivate_len), self.seen(value, q, zactivate_len)


class _IndexedCache(nn.Cell):  # type: ignore[misc]
    """A prompt goes into the row of its batch_index, a token to its row's next position."""

    def __init__(self, config: ModelConfig, form: DeviceForm, role: Role, dtype: Any) -> None:
        super().__init__()
        self.full = role == FULL
        self.key_past, self.value_past = _cache(config, form, dtype), _cache(config, form, dtype)
        self.widen, self.seen = _Widen(), _Seen(config, form)
        if self.full:
            self.write = _Operation("PromptKVCache", padding_mode="right")
        else:
            self.write = _Operation("DecoderKVCache")
        self.axis, self.most = Tensor([2, 3], ms.int64), Tensor([form.positions, 3], ms.int64)

    def construct(self, q: Tensor, k: Tensor, v: Tensor, cache: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        lengths, rows, positions, zactivate_len = cache
        key, value = self.widen(k, positions, 2), self.widen(v, positions, 2)
        key = self.write(self.key_past, key, lengths, rows, self.axis, self.most, self.most)
        value = self.write(self.value_past, value, lengths, rows, self.axis, self.most, self.most)
        if self.full:
            return q, k, v
        key, value = ops.depend(self.key_past, key), ops.depend(self.value_past, value)
        return q, self.seen(key, q, zactivate_len), self.seen(value, q, zactivate_len)


class _PagedCache(nn.Cell):  # type: ignore[misc]
    """Blocks of tokens: each token goes to its slot, and a step attends over the blocks of its row's table."""

    def __init__(self, config: ModelConfig, form: DeviceForm, role: Role, dtype: Any) -> None:
        super().__init__()
        self.full = role == FULL
        self.key_cache, self.value_cache = _cache(config, form, dtype), _cache(config, form, dtype)
        self.kv_heads, self.heads, self.head = config.kv_heads, config.heads, config.head_dim
        self.write = _Operation("ReshapeAndCache")
        self.attend = _Operation(
            "PagedAttention",
            head_num=config.heads,
            scale_value=1.0 / math.sqrt(config.head_dim),
            kv_head_num=config.kv_heads,
        )
        self.transpose = ops.Transpose()
        self.reshape = ops.Reshape()

    def rows_of(self, x: Tensor) -> Tensor:
        """[tokens, kv_heads, head] of [b, kv_heads, s, head], or of a step's [b, 1, kv_heads, head]."""
        if self.full:
            x = self.transpose(x, (0, 2, 1, 3))
        return self.reshape(x, (-1, self.kv_heads, self.head))

    def construct(self, q: Tensor, k: Tensor, v: Tensor, cache: tuple[Tensor, ...]) -> Any:
        lengths, tables, slots = cache
        written = self.write(self.rows_of(k), self.rows_of(v), self.key_cache, self.value_cache, slots)
        q = ops.depend(q, written)
        if self.full:
            return q, k, v
        q = self.reshape(q, (-1, self.heads, self.head))
        mixed = self.attend(q, self.key_cache, self.value_cache, tables, lengths)
        return self.reshape(mixed, (-1, self.heads * self.head))


CACHES: Mapping[str, Any] = {"assign": _AssignCache, "indexed": _IndexedCache, "paged": _PagedCache}
