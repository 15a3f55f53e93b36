"""A GGUF file as a checkpoint: architectures llama and qwen2, any type of tensor that the gguf package dequantises."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize
from numpy.typing import NDArray

from skywork_rt.checkpoints.checkpoint import check_shape, check_tensor_names, choose_max_length
from skywork_rt.checkpoints.gguf.file import GgufTensor
from skywork_rt.checkpoints.gguf.split_file import GgufModel
from skywork_rt.checkpoints.gguf.tokenizer import read_tokenizer
from skywork_rt.checkpoints.hashing import hash_files
from skywork_rt.checkpoints.model import Float32Array, ModelConfig, RawTensor, RopeConfig
from skywork_rt.checkpoints.rope import make_rope, rope_from_factors
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import CheckpointError, UnsupportedError
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["ARCHITECTURES", "GgufSource", "gguf_name"]

_log = logging.getLogger("skywork_rt.export")

ARCHITECTURES: dict[str, bool] = {"llama": True, "qwen2": False}
"""Architecture to whether the converter permuted the rows of q and k for ggml's interleaved rotary."""

_MODULES = {
    "input_norm": "attn_norm.weight",
    "post_attention_norm": "ffn_norm.weight",
    "q_proj": "attn_q.weight",
    "k_proj": "attn_k.weight",
    "v_proj": "attn_v.weight",
    "o_proj": "attn_output.weight",
    "q_bias": "attn_q.bias",
    "k_bias": "attn_k.bias",
    "v_bias": "attn_v.bias",
    "gate_proj": "ffn_gate.weight",
    "up_proj": "ffn_up.weight",
    "down_proj": "ffn_down.weight",
}
_TOP = {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight", "lm_head": "output.weight"}
_ROPE_FACTORS = "rope_freqs.weight"
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "expert_count": (0,),
    "logit_scale": (0.0, 1.0),
    "attention.clamp_kqv": (0.0,),
    "attn_logit_softcapping": (0.0,),
    "final_logit_softcapping": (0.0,),
    "embedding_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "attention.scale": (0.0,),
    "attention.causal": (True,),
}
_TYPE_SUFFIX = re.compile(r"[.\-_](I?Q\d\w*|B?F16|F32|FP16|FP32)$", re.IGNORECASE)


def gguf_name(name: str) -> str:
    """The name in a GGUF file of the tensor that we call `name`."""
    if name in _TOP:
        return _TOP[name]
    _, layer, part = name.split(".")
    return f"blk.{layer}.{_MODULES[part]}"


class GgufSource:
    """A GGUF file. See `Source` and `Checkpoint` for the interface.

    Opening it reads the metadata and checks every tensor's name, shape and type; no weights are read before they are
    asked for. Rows of q and k come out in the order of half-split rotary.
    """

    kind: Literal["gguf"] = "gguf"

    def __init__(self, path: Path, max_length: int | None = None) -> None:
        self._file = GgufModel(path)
        self._architecture = _architecture(self._file.metadata)
        self._tokenizer = read_tokenizer(self._file.metadata)
        self._config = self._read_config(max_length)
        self._shapes = self._config.tensor_shapes()
        self._check_tensors()

    def _read_config(self, max_length: int | None) -> ModelConfig:
        given = _Metadata(self._file.metadata, self._architecture)
        given.refuse_foreign_parts()
        tensors, tokenizer = self._file.tensors, self._tokenizer
        heads, hidden = given.count("attention.head_count"), given.count("embedding_length")
        head_dim = given.count("attention.key_length", hidden // heads)
        if given.count("attention.value_length", head_dim) != head_dim:
            raise UnsupportedError("attention.value_length differs from attention.key_length, which is not supported")
        stated = given.count("context_length")
        window = given.optional_count("attention.sliding_window")
        reason = f"the sliding window, which is not implemented beyond {window}"
        length = choose_max_length(max_length, stated, window, reason)
        if window is not None and window < stated and max_length is None:
            _log.warning("max_length of %s is %d, its sliding window, instead of %d", self.name, length, stated)
        return ModelConfig(
            name=_model_name(self._file.name),
            layers=given.count("block_count"),
            hidden_size=hidden,
            intermediate_size=given.count("feed_forward_length"),
            heads=heads,
            kv_heads=given.count("attention.head_count_kv", heads),
            head_dim=head_dim,
            vocab_size=self._vocab_size(given),
            max_length=length,
            rms_norm_eps=given.real("attention.layer_norm_rms_epsilon", None),
            rope=self._rope(given, head_dim, stated),
            qkv_bias="blk.0.attn_q.bias" in tensors,
            tied_embeddings=_TOP["lm_head"] not in tensors,
            bos_id=tokenizer.bos_id if tokenizer else None,
            pad_id=tokenizer.pad_id if tokenizer else None,
            eos_ids=tokenizer.eos_ids if tokenizer else (),
        )

    def _vocab_size(self, given: _Metadata) -> int:
        embeddings = self._file.tensors.get(_TOP["embed_tokens"])
        if embeddings is None:
            raise CheckpointError(f"{self.name} lacks the tensor {_TOP['embed_tokens']}")
        return given.count("vocab_size", embeddings.shape[0])

    def _rope(self, given: _Metadata, head_dim: int, stated: int) -> RopeConfig:
        turned = given.count("rope.dimension_count", head_dim)
        if turned != head_dim:
            raise UnsupportedError(f"rotary embedding turns {turned} of {head_dim} dimensions, which is not supported")
        theta = given.real("rope.freq_base", 10000.0)
        scaling, parameters = given.rope_scaling()
        factors = self._file.tensors.get(_ROPE_FACTORS)
        if factors is None:
            return make_rope(scaling, theta, head_dim, stated, parameters)
        if scaling != "default":
            raise UnsupportedError(f"{_ROPE_FACTORS} together with rope scaling {scaling!r} is not supported")
        return rope_from_factors(theta, head_dim, self._dequantised(factors, 0, 1).reshape(factors.shape))

    def _check_tensors(self) -> None:
        expected = {gguf_name(name): name for name in self._shapes}
        check_tensor_names(self._file.tensors, expected, (_ROPE_FACTORS,), self.name)
        for stored, name in expected.items():
            tensor = self._file.tensors[stored]
            check_shape(stored, tensor.shape, self._shapes[name], self.name)
            _check_type(tensor, self.name)

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def name(self) -> str:
        return self._file.name

    def sha256(self, progress: Progress = no_progress) -> str | None:
        if len(self._file.paths) > 1:
            return None  # a hash of several files is nobody's to compare with
        return hash_files("hash source", self._file.paths, progress)[0]

    def tensor_names(self) -> Sequence[str]:
        return list(self._shapes)

    def tensor(self, name: str) -> Float32Array:
        shape = self._shapes[name]
        if len(shape) > 1:
            return self.rows(name, 0, shape[0])
        values = self._dequantised(self._tensor(name), 0, 1).reshape(shape)
        order = self._row_order(name)
        return values if order is None else values[order]

    def rows(self, name: str, start: int, stop: int) -> Float32Array:
        tensor, order = self._tensor(name), self._row_order(name)
        if order is None:
            return self._dequantised(tensor, start, stop)
        # Our rows of one head lie in that head in the file: read whole heads and pick.
        head = self._config.head_dim
        first, last = start // head * head, -(-stop // head) * head
        return np.ascontiguousarray(self._dequantised(tensor, first, last)[order[start:stop] - first])

    def raw_type(self, name: str) -> str | None:
        tensor = self._tensor(name)
        return tensor.type.name if len(tensor.shape) == 2 else None

    def raw(self, name: str) -> RawTensor | None:
        tensor, kind = self._tensor(name), self.raw_type(name)
        if kind is None:
            return None
        blocks, order = tensor.blocks(0, tensor.rows), self._row_order(name)
        rows, columns = tensor.shape
        return RawTensor(kind, (rows, columns), blocks if order is None else np.ascontiguousarray(blocks[order]))

    def tokenizer(self) -> TokenizerFiles | None:
        return self._tokenizer

    def generation_config(self) -> dict[str, Any] | None:
        return None

    def _tensor(self, name: str) -> GgufTensor:
        if name not in self._shapes:
            raise KeyError(name)
        return self._file.tensors[gguf_name(name)]

    def _dequantised(self, tensor: GgufTensor, start: int, stop: int) -> Float32Array:
        values = dequantize(tensor.blocks(start, stop), tensor.type)
        return np.ascontiguousarray(values, dtype=np.float32)

    def _row_order(self, name: str) -> NDArray[np.int64] | None:
        """The file's row for each of ours: a head holds (0, half), (1, half + 1), … for ggml's rotary of neighbours."""
        part = name.rpartition(".")[2]
        if not ARCHITECTURES[self._architecture] or part not in ("q_proj", "k_proj", "q_bias", "k_bias"):
            return None
        rows, head = self._shapes[name][0], self._config.head_dim
        stored = np.arange(rows, dtype=np.int64).reshape(rows // head, head // 2, 2)
        return np.ascontiguousarray(stored.swapaxes(1, 2)).reshape(rows)


def _model_name(file: str) -> str:
    """The file's name without its ending, its number among several and its type of weights."""
    stem = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", file, flags=re.IGNORECASE)
    return _TYPE_SUFFIX.sub("", stem) or stem


def _architecture(metadata: Mapping[str, Any]) -> str:
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise UnsupportedError(
            f"GGUF architecture {str(architecture)[:80]!r} is not supported; known are {', '.join(ARCHITECTURES)}"
        )
    return architecture


def _check_type(tensor: GgufTensor, where: str) -> None:
    """Tries the type on one empty block, so that a type without dequantisation is refused before any work."""
    _, block_bytes = GGML_QUANT_SIZES[tensor.type]
    try:
        dequantize(np.zeros((1, block_bytes), np.uint8), tensor.type)
    except NotImplementedError as error:
        raise UnsupportedError(
            f"{where}: tensor {tensor.name} has type {tensor.type.name}, which is not read"
        ) from error


class _Metadata:
    """The metadata of one architecture, read with checks that name the key."""

    def __init__(self, values: Mapping[str, Any], architecture: str) -> None:
        self._values = values
        self._prefix = architecture + "."

    def refuse_foreign_parts(self) -> None:
        for key, neutral in _NEUTRAL.items():
            value = self._values.get(self._prefix + key)
            if value is not None and value not in neutral:
                raise UnsupportedError(f"GGUF metadata {self._prefix}{key} = {str(value)[:40]} is not supported")

    def optional_count(self, key: str) -> int | None:
        value = self._values.get(self._prefix + key)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]  # some converters repeat a number for each layer
        if value is None:
            return None
        if isinstance(value, list):
            raise UnsupportedError(f"GGUF metadata {self._prefix}{key} differs between layers, which is not supported")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(f"GGUF metadata {self._prefix}{key} is {str(value)[:40]}; expected at least 1")
        return value

    def count(self, key: str, default: int | None = None) -> int:
        value = self.optional_count(key)
        value = default if value is None else value
        if value is None:
            raise CheckpointError(f"GGUF metadata lacks {self._prefix}{key}")
        return value

    def real(self, key: str, default: float | None) -> float:
        value = self._values.get(self._prefix + key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise CheckpointError(f"GGUF metadata {self._prefix}{key} is {str(value)[:40]}; expected a positive number")
        # Stored as float32: take the shortest number that means the same, 1e-05 and not 9.999999747378752e-06.
        return float(str(np.float32(value)))

    def rope_scaling(self) -> tuple[str, dict[str, float]]:
        """The scaling type and its parameters in Hugging Face's names."""
        if self._values.get(self._prefix + "rope.scale_linear") not in (None, 0.0, 1.0):
            return "linear", {"factor": self.real("rope.scale_linear", None)}
        kind = self._values.get(self._prefix + "rope.scaling.type", "none")
        if kind == "none":
            return "default", {}
        if kind not in ("linear", "yarn"):
            raise UnsupportedError(f"rope scaling {str(kind)[:40]!r} is not supported; known are none, linear, yarn")
        for unknown in ("yarn_ext_factor", "yarn_attn_factor", "yarn_log_multiplier"):
            if self._values.get(f"{self._prefix}rope.scaling.{unknown}") not in (None, 0.0, 1.0):
                raise UnsupportedError(f"GGUF metadata {self._prefix}rope.scaling.{unknown} is not supported")
        parameters = {"factor": self.real("rope.scaling.factor", None)}
        if kind == "yarn":
            parameters["original_max_position_embeddings"] = self.count("rope.scaling.original_context_length")
            for ours, theirs in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
                parameters[ours] = self.real(f"rope.scaling.{theirs}", 32.0 if ours == "beta_fast" else 1.0)
        return str(kind), parameters
