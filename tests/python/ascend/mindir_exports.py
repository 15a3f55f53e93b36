"""Exports graphs in MindFormers' device-cache contract with MindSpore itself: `python mindir_exports.py OUT`.

Each model is as small as its inputs, its Parameters and the operators that write them; names and shapes are those of
MindFormers' Llama models (KVCacheMgr, PagedAttentionMgr). For every form OUT gets FORM/mindir_full_checkpoint and
FORM/mindir_inc_checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.ops import operations as P
from mindspore.ops.primitive import PrimitiveWithInfer, prim_attr_register

ROWS, HEADS, POSITIONS, WIDTH, LAYERS, VOCABULARY = 2, 2, 64, 16, 2, 512
BLOCKS, BLOCK_TOKENS, TABLE = 9, 16, 4


class PromptKVCache(PrimitiveWithInfer):
    """MindSpore 2.2's operator of this name, which later ones have no more: enough of it to be exported."""

    @prim_attr_register
    def __init__(self):
        self.init_prim_io_names(inputs=["cache", "update", "valid", "batch", "axis", "new", "cur"], outputs=["out"])

    def infer_shape(self, cache, *others):
        return cache

    def infer_dtype(self, cache, *others):
        return cache


class DecoderKVCache(PromptKVCache):
    """The same for one token."""


class KVCacheMgr(nn.Cell):
    def __init__(self, form: str, full: bool) -> None:
        super().__init__()
        self.form, self.full = form, full
        paged = form == "paged"
        shape = (BLOCKS, BLOCK_TOKENS, HEADS, WIDTH) if paged else (ROWS, HEADS, POSITIONS, WIDTH)
        names = ("key_cache", "value_cache") if paged else ("key_past", "value_past")
        self.key_past = Parameter(Tensor(np.zeros(shape), ms.float16), name=names[0], requires_grad=False)
        self.value_past = Parameter(Tensor(np.zeros(shape), ms.float16), name=names[1], requires_grad=False)
        if form == "assign":
            self.assign, self.range = P.Assign(), Tensor(np.arange(POSITIONS).reshape(1, 1, -1, 1), ms.int32)
        elif form == "indexed":
            self.write = PromptKVCache() if full else DecoderKVCache()
            self.pad = Tensor([POSITIONS, 0, 0, 0], ms.int64)
            self.axis = Tensor([2, 0, 0, 0], ms.int64)
        else:
            self.write = ops.auto_generate.ReshapeAndCache()

    def construct(self, key, lengths, batch_index, slots):
        if self.form == "assign":
            mask = ops.cast(self.range < lengths.reshape((-1, 1, 1, 1)), ms.float16)
            held = key * mask if self.full else self.key_past + key * mask
            self.assign(self.key_past, held)
            self.assign(self.value_past, held)
            return held
        if self.form == "indexed":
            valid = ops.cast(lengths, ms.int64)
            where = (valid, batch_index, self.axis, self.pad, self.pad)
            return self.write(self.key_past, key, *where) + self.write(self.value_past, key, *where)
        flat = key.reshape((-1, HEADS * WIDTH))
        return self.write(flat, flat, self.key_past, self.value_past, slots)


class Attention(nn.Cell):
    def __init__(self, form: str, full: bool) -> None:
        super().__init__()
        self.kvcache_mgr = KVCacheMgr(form, full)


class Layer(nn.Cell):
    def __init__(self, form: str, full: bool) -> None:
        super().__init__()
        self.attention = Attention(form, full)


class Embedding(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        weight = np.zeros((VOCABULARY, HEADS * WIDTH))
        self.embedding_weight = Parameter(Tensor(weight, ms.float16), name="embedding_weight")


class Model(nn.Cell):
    def __init__(self, form: str, full: bool) -> None:
        super().__init__()
        self.tok_embeddings = Embedding()
        self.layers = nn.CellList([Layer(form, full) for _ in range(LAYERS)])


class Llama(nn.Cell):
    def __init__(self, form: str, full: bool) -> None:
        super().__init__()
        self.model = Model(form, full)
        self.gather = P.Gather()
        self.logits = Tensor(np.zeros((ROWS, VOCABULARY) if full else (ROWS, 1, VOCABULARY)), ms.float32)

    def compute(self, tokens, lengths, batch_index, slots):
        hidden = self.gather(self.model.tok_embeddings.embedding_weight, tokens, 0)
        key = hidden.reshape((tokens.shape[0], -1, HEADS, WIDTH)).transpose((0, 2, 1, 3))
        total = ops.reduce_sum(ops.cast(hidden, ms.float32))
        for layer in self.model.layers:
            held = layer.attention.kvcache_mgr(key, lengths, batch_index, slots)
            total = total + ops.reduce_sum(ops.cast(held, ms.float32))
        return total + self.logits


class RowsLlama(Llama):
    def construct(self, tokens, batch_valid_length, batch_index, zactivate_len):
        return self.compute(tokens, batch_valid_length, batch_index, None), tokens, zactivate_len + batch_index[0]


class PagedFull(Llama):
    def construct(self, tokens, batch_valid_length, slot_mapping):
        return self.compute(tokens, batch_valid_length, None, slot_mapping), batch_valid_length


class PagedIncremental(Llama):
    def construct(self, tokens, batch_valid_length, block_tables, slot_mapping):
        return self.compute(tokens, batch_valid_length, None, slot_mapping), batch_valid_length, block_tables


def _inputs(form: str, full: bool) -> list[Tensor]:
    tokens = Tensor(np.ones((ROWS, POSITIONS if full else 1)), ms.int32)
    lengths = Tensor(np.ones(ROWS), ms.int32)
    if form == "paged":
        slots = Tensor(np.zeros(tokens.size), ms.int32)
        return [tokens, lengths, slots] if full else [tokens, lengths, Tensor(np.zeros((ROWS, TABLE)), ms.int32), slots]
    return [tokens, lengths, Tensor(np.arange(ROWS), ms.int64), Tensor(np.zeros(POSITIONS), ms.int64)]


def _export(out: Path, form: str) -> None:
    for full, folder in ((True, "mindir_full_checkpoint"), (False, "mindir_inc_checkpoint")):
        kind = RowsLlama if form != "paged" else (PagedFull if full else PagedIncremental)
        net = kind(form, full)
        net.set_train(False)
        target = out / form / folder / "rank_0_graph"
        target.parent.mkdir(parents=True)
        ms.export(net, *_inputs(form, full), file_name=str(target), file_format="MINDIR")


if __name__ == "__main__":
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    for each in sys.argv[2:] or ("assign", "indexed", "paged"):
        _export(Path(sys.argv[1]), each)
