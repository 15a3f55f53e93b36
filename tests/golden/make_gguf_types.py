"""Random blocks of every type of GGUF that the native backend computes with: as packed for it, and as gguf dequantises.

    python tests/golden/make_gguf_types.py

writes gguf_types.safetensors beside this file, in the layout of a weights file. tests/cpp/native/gguf_types_test.cc
lets the kernels read it; tests/python/native/test_gguf_types.py makes it again and compares.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from skywork_rt.checkpoints.model import RawTensor
from skywork_rt.export.quantise.types import TYPES
from skywork_rt.export.quantise.weights import kind_of

ROWS, COLUMNS = 18, 256
NAMES = [
    "F32",
    "F16",
    "BF16",
    "Q8_0",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "IQ4_NL",
    "IQ4_XS",
]
FILE = Path(__file__).parent / "gguf_types.safetensors"

# Where float16 numbers lie in a block: at these bytes.
HALVES = {
    "Q8_0": (0,),
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
    "IQ4_XS": (0,),
}


def random_blocks(name: str) -> RawTensor:
    """Any bytes, but for the float16 numbers, which are finite."""
    generator = np.random.default_rng(NAMES.index(name))
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    if name in ("F32", "F16", "BF16"):
        words = generator.standard_normal((ROWS, COLUMNS)).astype(np.float32)
        if name == "BF16":
            return RawTensor(name, (ROWS, COLUMNS), (words.view(np.uint32) >> 16).astype("<u2").view(np.uint8))
        return RawTensor(name, (ROWS, COLUMNS), words.astype("<f2" if name == "F16" else "<f4").view(np.uint8))
    blocks = generator.integers(0, 256, (ROWS, COLUMNS // block, size), dtype=np.uint8)
    for at in HALVES[name]:
        halves = generator.uniform(-2, 2, blocks.shape[:2]).astype("<f2")
        blocks[..., at : at + 2] = halves[..., None].view(np.uint8)
    return RawTensor(name, (ROWS, COLUMNS), blocks.reshape(ROWS, -1))


def dequantised(raw: RawTensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(dequantize(raw.blocks, GGMLQuantizationType[raw.type]), np.float32)


def packed(raw: RawTensor) -> tuple[str, NDArray[np.uint8]]:
    """The type that the matrix is stored in, and its panels."""
    kind = kind_of("gguf", "", raw.type)
    pack = TYPES[kind].pack_raw
    assert pack is not None
    return kind, pack(raw, 0, ROWS)


def content() -> bytes:
    """The file: matrices `TYPE.KIND` [panels, bytes], then what they mean, `TYPE` [rows, columns]."""
    tensors: dict[str, NDArray[np.generic]] = {}
    for name in NAMES:
        kind, panels = packed(random_blocks(name))
        tensors[f"{name}.{kind}"] = panels
    for name in NAMES:
        tensors[name] = dequantised(random_blocks(name))
    header: dict[str, object] = {"__metadata__": {"format": "skywork_rt.weights", "version": "1"}}
    offset = 0
    for name, array in tensors.items():
        size = math.prod(array.shape) * array.itemsize
        dtype = "U8" if array.dtype == np.uint8 else "F32"
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text = text.ljust(-(-(8 + len(text)) // 64) * 64 - 8)
    return len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in tensors.values())


if __name__ == "__main__":
    FILE.write_bytes(content())
    print(f"{FILE}: {FILE.stat().st_size} bytes")
