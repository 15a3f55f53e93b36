"""What export knows of a model: its shape (`ModelConfig`) and where its weights come from (`Source`).

This is the seam between the readers of checkpoints, the MindSpore graphs and the native quantiser: readers implement
`Source`, the others consume it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from skywork_rt.errors import CheckpointError

__all__ = [
    "MAX_HEAD_DIM",
    "Float32Array",
    "ModelConfig",
    "RawTensor",
    "RopeConfig",
    "Source",
]

Float32Array = NDArray[np.float32]

MAX_HEAD_DIM = 1 << 12
"""The largest head size that is taken for one."""


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding with its scaling folded in, as docs/bundle-format.md describes it.

    `inverse_frequencies` holds head_dim / 2 float32 values in radians a position; `attention_factor` multiplies both
    cosine and sine. `type` is for people only: no consumer needs to know a scaling method.
    """

    type: str
    theta: float
    inverse_frequencies: tuple[float, ...]
    attention_factor: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """The `model` section of model.json. Raises CheckpointError when its numbers cannot belong to one model.

    `qkv_bias`, `output_bias` and `mlp_bias` say that the projections of attention, its output and the feed-forward add
    a bias. `qk_norm`: every head of q and k goes through an RMS norm of its own before rotary (Qwen3). Layers in
    `layers_without_rope`, ascending, do not turn q and k at all (SmolLM3).
    """

    name: str
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_length: int
    rms_norm_eps: float
    rope: RopeConfig
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    layers_without_rope: tuple[int, ...] = ()
    tied_embeddings: bool = False
    bos_id: int | None = None
    pad_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    architecture: str = "llama"

    def __post_init__(self) -> None:
        for field, largest in _LARGEST.items():
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= largest:
                raise CheckpointError(f"{field} is {value!r}; it must be a whole number from 1 to {largest}")
        if self.heads % self.kv_heads != 0:
            raise CheckpointError(f"{self.heads} heads are not a multiple of {self.kv_heads} key/value heads")
        if self.head_dim % 2 != 0:
            raise CheckpointError(f"head_dim is {self.head_dim}; rotary embedding needs an even number")
        if not (math.isfinite(self.rms_norm_eps) and self.rms_norm_eps > 0):
            raise CheckpointError(f"rms_norm_eps is {self.rms_norm_eps}; it must be positive")
        self._check_rope()
        self._check_layers_without_rope()
        self._check_ids()

    def _check_layers_without_rope(self) -> None:
        listed = self.layers_without_rope
        if list(listed) != sorted({index for index in listed if 0 <= index < self.layers}):
            raise CheckpointError(
                f"layers without rotary are {_few(listed)}; they must be ascending numbers below {self.layers}"
            )

    def _check_rope(self) -> None:
        found, expected = len(self.rope.inverse_frequencies), self.head_dim // 2
        if found != expected:
            raise CheckpointError(f"rope has {found} inverse frequencies; head_dim {self.head_dim} needs {expected}")
        if not all(math.isfinite(f) for f in (*self.rope.inverse_frequencies, self.rope.attention_factor)):
            raise CheckpointError("rope has an inverse frequency or attention factor that is not finite")

    def _check_ids(self) -> None:
        named = [("bos_id", self.bos_id), ("pad_id", self.pad_id), *(("eos id", i) for i in self.eos_ids)]
        for label, value in named:
            if value is not None and not 0 <= value < self.vocab_size:
                raise CheckpointError(f"{label} {value} is outside the vocabulary of {self.vocab_size} tokens")

    def to_json(self) -> dict[str, Any]:
        """The `model` section of model.json, ready for json.dumps (floats print shortest and read back equal)."""
        return dataclasses.asdict(self) | {
            "rope": dataclasses.asdict(self.rope) | {"inverse_frequencies": list(self.rope.inverse_frequencies)},
            "layers_without_rope": list(self.layers_without_rope),
            "eos_ids": list(self.eos_ids),
        }

    @classmethod
    def from_json(cls, section: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_json`; unknown keys are ignored."""
        known = {field.name: section[field.name] for field in dataclasses.fields(cls) if field.name in section}
        rope = known["rope"]
        known["rope"] = RopeConfig(
            type=rope["type"],
            theta=rope["theta"],
            inverse_frequencies=tuple(rope["inverse_frequencies"]),
            attention_factor=rope["attention_factor"],
        )
        for listed in ("eos_ids", "layers_without_rope"):
            known[listed] = tuple(known.get(listed, ()))
        return cls(**known)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of this model, canonical name to shape, in the order in which a forward pass needs them.

        Matrices are [out, in]. `lm_head` is absent when the embeddings are tied.
        """
        hidden, wide = self.hidden_size, self.intermediate_size
        q_width, kv_width = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {"embed_tokens": (self.vocab_size, hidden)}
        for layer in range(self.layers):
            prefix = f"layers.{layer}."
            shapes[prefix + "input_norm"] = (hidden,)
            shapes[prefix + "q_proj"] = (q_width, hidden)
            shapes[prefix + "k_proj"] = (kv_width, hidden)
            shapes[prefix + "v_proj"] = (kv_width, hidden)
            if self.qkv_bias:
                shapes[prefix + "q_bias"] = (q_width,)
                shapes[prefix + "k_bias"] = (kv_width,)
                shapes[prefix + "v_bias"] = (kv_width,)
            if self.qk_norm:
                shapes[prefix + "q_norm"] = (self.head_dim,)
                shapes[prefix + "k_norm"] = (self.head_dim,)
            shapes[prefix + "o_proj"] = (hidden, q_width)
            if self.output_bias:
                shapes[prefix + "o_bias"] = (hidden,)
            shapes[prefix + "post_attention_norm"] = (hidden,)
            shapes[prefix + "gate_proj"] = (wide, hidden)
            shapes[prefix + "up_proj"] = (wide, hidden)
            shapes[prefix + "down_proj"] = (hidden, wide)
            if self.mlp_bias:
                shapes[prefix + "gate_bias"] = (wide,)
                shapes[prefix + "up_bias"] = (wide,)
                shapes[prefix + "down_bias"] = (hidden,)
        shapes["norm"] = (hidden,)
        if not self.tied_embeddings:
            shapes["lm_head"] = (self.vocab_size, hidden)
        return shapes

    def of_layer(self, index: int) -> ModelConfig:
        """The model with no other layer than that one."""
        unturned = (0,) if index in self.layers_without_rope else ()
        return dataclasses.replace(self, layers=1, layers_without_rope=unturned)

    def parameter_count(self) -> int:
        """Weights in the whole model."""
        return sum(math.prod(shape) for shape in self.tensor_shapes().values())


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"


# Far above any model, and low enough that a damaged number costs neither time nor memory.
_LARGEST = {
    "layers": 1 << 12,
    "hidden_size": 1 << 20,
    "intermediate_size": 1 << 22,
    "heads": 1 << 14,
    "kv_heads": 1 << 14,
    "head_dim": MAX_HEAD_DIM,
    "vocab_size": 1 << 24,
    "max_length": (1 << 31) - 1,
}


@dataclass(frozen=True)
class RawTensor:
    """A matrix in the blocks of its GGUF file, for import without loss.

    `type` is GGUF's, as "Q4_K" or "F16". `blocks` is uint8 [rows, bytes of a row]: each row is its blocks of 32 or 256
    weights one after the other (numbers, for the types of floats), laid out as ggml defines them. Rows are in our order
    (rotary un-permutation of q and k already applied).
    """

    type: str
    shape: tuple[int, int]
    blocks: NDArray[np.uint8]


@runtime_checkable
class Source(Protocol):
    """A checkpoint that was opened and whose list of tensors was checked against its configuration.

    Tensors are read one at a time and never kept, so a model of any size passes through little memory. A source can be
    pickled: the copy opens the same files again (a child process reads weights without a temporary file).
    """

    @property
    def config(self) -> ModelConfig:
        """The shape of the model."""
        ...

    def tensor_names(self) -> Sequence[str]:
        """The canonical names, exactly the keys of `config.tensor_shapes()` in that order."""
        ...

    def tensor(self, name: str) -> Float32Array:
        """The tensor as float32, C-contiguous, of the shape that `config.tensor_shapes()` states.

        Raises CheckpointError when its data is damaged; KeyError for a name that is not in `tensor_names()`.
        """
        ...

    def rows(self, name: str, start: int, stop: int) -> Float32Array:
        """Rows start to stop (exclusive) of a matrix, as `tensor(name)[start:stop]` but reading only those.

        For tensors too large to hold at once: Skywork's embeddings are 1.2 GB as float32.
        """
        ...

    def raw_type(self, name: str) -> str | None:
        """The type of a matrix in its GGUF file, as "Q4_K", where `raw` gives its blocks, else None."""
        ...

    def raw(self, name: str) -> RawTensor | None:
        """The original blocks where the checkpoint has them in a type that `RawTensor` knows, else None."""
        ...
