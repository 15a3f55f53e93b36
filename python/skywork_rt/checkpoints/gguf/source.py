"""A GGUF file as a checkpoint: a Llama structure, with any type of tensor that the gguf package dequantises."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize
from numpy.typing import NDArray

from skywork_rt.checkpoints.checkpoint import check_shape, check_tensor_names, choose_max_length, notice_longrope
from skywork_rt.checkpoints.foreign import foreign_architecture
from skywork_rt.checkpoints.gguf.file import GgufTensor
from skywork_rt.checkpoints.gguf.split_file import GgufModel
from skywork_rt.checkpoints.gguf.tokenizer import read_tokenizer
from skywork_rt.checkpoints.hashing import hash_files
from skywork_rt.checkpoints.model import Float32Array, ModelConfig, RawTensor, RopeConfig
from skywork_rt.checkpoints.rope import divided, make_rope, scaled_length
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.errors import CheckpointError, UnsupportedError
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["ARCHITECTURES", "GgufSource", "gguf_name"]

_log = logging.getLogger("skywork_rt.export")

ARCHITECTURES: dict[str, bool] = {"llama": True, "qwen2": False, "qwen3": False, "smollm3": True}
"""Architecture to whether the converter permuted the rows of q and k for ggml's interleaved rotary."""

_ROTARY_PAUSE = 4
"""Every fourth layer of smollm3 is without rotary; no metadata says so, llama.cpp knows it by the architecture."""

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
    "q_norm": "attn_q_norm.weight",
    "k_norm": "attn_k_norm.weight",
    "o_bias": "attn_output.bias",
    "gate_proj": "ffn_gate.weight",
    "up_proj": "ffn_up.weight",
    "down_proj": "ffn_down.weight",
    "gate_bias": "ffn_gate.bias",
    "up_bias": "ffn_up.bias",
    "down_bias": "ffn_down.bias",
}
_TOP = {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight", "lm_head": "output.weight"}
_ROPE_FACTORS = "rope_freqs.weight"
_LONGROPE_FACTORS = {"long": "rope_factors_long.weight", "short": "rope_factors_short.weight"}
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
        layers = given.count("block_count")
        scaling = given.rope_scaling()
        length = self._length(given, scaling, max_length)
        return ModelConfig(
            name=_model_name(self._file.name),
            layers=layers,
            hidden_size=hidden,
            intermediate_size=given.count("feed_forward_length"),
            heads=heads,
            kv_heads=given.count("attention.head_count_kv", heads),
            head_dim=head_dim,
            vocab_size=self._vocab_size(given),
            max_length=length,
            rms_norm_eps=given.real("attention.layer_norm_rms_epsilon", None),
            rope=self._rope(given, head_dim, scaling, length),
            qkv_bias="blk.0.attn_q.bias" in tensors,
            output_bias="blk.0.attn_output.bias" in tensors,
            mlp_bias="blk.0.ffn_up.bias" in tensors,
            qk_norm=self._architecture == "qwen3",
            layers_without_rope=tuple(range(_ROTARY_PAUSE - 1, layers, _ROTARY_PAUSE))
            if self._architecture == "smollm3"
            else (),
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

    def _length(self, given: _Metadata, scaling: RopeScaling, requested: int | None) -> int:
        made_for = scaled_length(scaling.type, given.count("context_length"), scaling.parameters)
        window = given.optional_count("attention.sliding_window")
        reason = f"the sliding window, which is not implemented beyond {window}"
        length = choose_max_length(requested, made_for, window, reason)
        if window is not None and window < made_for and requested is None:
            _log.warning("max_length of %s is %d, its sliding window, instead of %d", self.name, length, made_for)
        return length

    def _rope(self, given: _Metadata, head_dim: int, scaling: RopeScaling, length: int) -> RopeConfig:
        turned = given.count("rope.dimension_count", head_dim)
        if turned != head_dim:
            raise UnsupportedError(f"rotary embedding turns {turned} of {head_dim} dimensions, which is not supported")
        theta, original = given.real("rope.freq_base", 10000.0), scaling.original
        # longrope's factors are tensors; what is left of it is the factor, which ggml takes as linear.
        kind = "linear" if scaling.type == "longrope" else scaling.type
        rope = make_rope(kind, theta, head_dim, original, scaling.parameters)
        rope = dataclasses.replace(rope, attention_factor=float(np.float32(rope.attention_factor * scaling.attention)))
        if _ROPE_FACTORS in self._file.tensors:
            return self._divided(rope, _ROPE_FACTORS, "llama3" if kind == "default" else kind)
        if scaling.type != "longrope":
            return rope
        notice_longrope(self.name, "longrope", length, original)
        return self._divided(rope, _LONGROPE_FACTORS["long" if length > original else "short"], "longrope")

    def _divided(self, rope: RopeConfig, tensor: str, kind: str) -> RopeConfig:
        stored = self._file.tensors.get(tensor)
        if stored is None:
            raise CheckpointError(f"{self.name} lacks the tensor {tensor}, which its rope scaling asks for")
        factors = self._dequantised(stored, 0, stored.rows).reshape(stored.shape)
        return divided(rope, factors, tensor.removesuffix(".weight"), kind)

    def _check_tensors(self) -> None:
        expected = {gguf_name(name): name for name in self._shapes}
        factors = (_ROPE_FACTORS, *(_LONGROPE_FACTORS.values() if self._config.rope.type == "longrope" else ()))
        check_tensor_names(self._file.tensors, expected, factors, self.name)
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
        advice = foreign_architecture(str(architecture))
        raise UnsupportedError(
            f"GGUF architecture {str(architecture)[:80]!r} is not supported; known are {', '.join(ARCHITECTURES)}"
            + (f" ({advice})" if advice else "")
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

    def rope_scaling(self) -> RopeScaling:
        """The scaling as llama.cpp takes it: without a type it is linear, without an original length the context's."""
        kind = self._values.get(self._prefix + "rope.scaling.type", "linear")
        if kind not in ("none", "linear", "yarn", "longrope"):
            raise UnsupportedError(
                f"rope scaling {str(kind)[:40]!r} is not supported; known are none, linear, yarn, longrope"
            )
        original = self.count("rope.scaling.original_context_length", self.count("context_length"))
        attention = self._factor("rope.scaling.attn_factor") * self._factor("rope.scaling.yarn_attn_factor")
        factor = self._factor("rope.scaling.factor", self._factor("rope.scale_linear"))
        if kind == "none" or (kind == "linear" and factor == 1.0):
            return RopeScaling("default", original, attention, {})
        parameters = {"factor": factor, "original_max_position_embeddings": float(original)}
        if kind == "yarn":
            kind = self._refine_yarn(parameters)
        return RopeScaling(str(kind), original, attention, parameters)

    def _refine_yarn(self, parameters: dict[str, float]) -> str:
        """Adds yarn's own parameters; the type that it is with them."""
        log_multiplier = self._values.get(self._prefix + "rope.scaling.yarn_log_multiplier")
        if log_multiplier not in (None, 0.0, 1.0):
            raise UnsupportedError(f"GGUF metadata {self._prefix}rope.scaling.yarn_log_multiplier is not supported")
        share = self._values.get(self._prefix + "rope.scaling.yarn_ext_factor")
        if share == 0.0:
            return "linear"  # nothing is extrapolated
        if not (share in (None, 1.0) or (isinstance(share, float) and share < 0)):
            raise UnsupportedError(
                f"GGUF metadata {self._prefix}rope.scaling.yarn_ext_factor = {str(share)[:40]} is not supported"
            )
        for ours, theirs, default in (("beta_fast", "yarn_beta_fast", 32.0), ("beta_slow", "yarn_beta_slow", 1.0)):
            parameters[ours] = self.real(f"rope.scaling.{theirs}", default)
        return "yarn"

    def _factor(self, key: str, default: float = 1.0) -> float:
        """A factor that may be left out; 0 means the same."""
        return default if self._values.get(self._prefix + key) in (None, 0) else self.real(key, None)


@dataclass(frozen=True)
class RopeScaling:
    """Rope scaling of a GGUF file: type and parameters in Hugging Face's names, the original length in positions, and
    what multiplies cosine and sine besides the type's own factor."""

    type: str
    original: int
    attention: float
    parameters: dict[str, float]
