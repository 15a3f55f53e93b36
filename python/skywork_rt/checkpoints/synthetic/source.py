"""Random models of any shape: for tests, and to run Skywork-13B's own shape without its weights.

The numbers come from Philox in integer arithmetic, keyed by seed, tensor name and block of rows. They are the same on
every machine and version of numpy, and any row can be made without the rows before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from skywork_rt.checkpoints.model import Float32Array, ModelConfig, RawTensor
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.support.stages import Progress, no_progress

__all__ = ["SyntheticSource", "random_rows"]

_BLOCK_ELEMENTS = 1 << 18
_EVEN_WORDS = np.uint64(0x0000FFFF0000FFFF)
_NORM_SPREAD = 0.1
_BIAS_SPREAD = 0.1


def random_rows(seed: int, name: str, shape: tuple[int, ...], start: int, stop: int) -> Float32Array:
    """Rows start to stop of the random tensor `name`, float32 [stop - start, ...].

    Matrices have standard deviation columns ** -0.5, norms are 1 with a spread of 0.1, biases 0 with a spread of 0.1,
    so that activations of a random model stay near 1.
    """
    if len(shape) == 1:
        vector = _normal_block(seed, name, 0, shape[0])[start:stop]
        if name.endswith("norm"):
            return np.float32(1.0) + np.float32(_NORM_SPREAD) * vector
        return np.float32(_BIAS_SPREAD) * vector
    columns = shape[1]
    block_rows = max(1, _BLOCK_ELEMENTS // columns)
    out = np.empty((stop - start, columns), np.float32)
    for block in range(start // block_rows, -(-stop // block_rows)):
        first = block * block_rows
        rows = _normal_block(seed, name, block, block_rows * columns).reshape(block_rows, columns)
        low, high = max(start, first), min(stop, first + block_rows)
        np.multiply(rows[low - first : high - first], np.float32(columns**-0.5), out=out[low - start : high - start])
    return out


def _normal_block(seed: int, name: str, block: int, count: int) -> Float32Array:
    """`count` nearly normal numbers: the sum of the four 16-bit words of a Philox output, centred and scaled.

    The tails end at 3.46 standard deviations, which suits weights.
    """
    digest = hashlib.sha256(f"{seed}/{name}/{block}".encode()).digest()
    generator = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    raw = generator.random_raw(count)
    pairs = (raw & _EVEN_WORDS) + ((raw >> np.uint64(16)) & _EVEN_WORDS)
    halves = pairs.view(np.uint32)
    total = halves[0::2] + halves[1::2]
    return (total.view(np.int32) - np.int32(2 * 65535)).astype(np.float32) * np.float32(3**0.5 / 65536)


class SyntheticSource:
    """A `Source` whose weights are made when they are asked for: no file and no memory behind it."""

    kind: Literal["synthetic"] = "synthetic"

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        self._config = config
        self._shapes = config.tensor_shapes()
        self.seed = seed

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def name(self) -> str:
        return f"{self._config.name}-seed{self.seed}"

    @property
    def in_floats(self) -> bool:
        return True

    def sha256(self, progress: Progress = no_progress) -> str | None:
        del progress
        return None

    def tensor_names(self) -> Sequence[str]:
        return list(self._shapes)

    def tensor(self, name: str) -> Float32Array:
        shape = self._shapes[name]
        return random_rows(self.seed, name, shape, 0, shape[0])

    def rows(self, name: str, start: int, stop: int) -> Float32Array:
        return random_rows(self.seed, name, self._shapes[name], start, stop)

    def raw(self, name: str) -> RawTensor | None:
        del name
        return None

    def tokenizer(self) -> TokenizerFiles | None:
        return None

    def generation_config(self) -> dict[str, Any] | None:
        return None
