"""Makes gguf_shapes.npz beside it: logits of ik_llama.cpp on the files of gguf_shapes.py.

    python tests/python/export/golden/make_gguf_shapes_golden.py

Run once, with the package ik-llama-cpp-python. It keeps keys and values in float16: its logits differ from exact ones
by some 3e-4 of their range.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ik_llama_cpp import _ctypes_api as api
from ik_llama_cpp._internals import IkContext, IkModel, make_batch_single

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from gguf_shapes import IDS, SHAPES, write_shape  # noqa: E402

COLUMNS = np.arange(0, 512, 8)


def logits_of(path: Path) -> np.ndarray:
    """float32 [tokens, columns] of IDS, a token at a time."""
    model = IkModel(str(path))
    context = IkContext(model, n_ctx=256, n_threads=1, flash_attn=False)
    rows = []
    for position, token in enumerate(IDS):
        if context.decode(make_batch_single(token, position)) != 0:
            raise RuntimeError(f"{path.name}: position {position} was not computed")
        row = ctypes.cast(api.llama_get_logits_ith(context.ctx, -1), ctypes.POINTER(ctypes.c_float))
        rows.append(np.ctypeslib.as_array(row, (512,))[COLUMNS].copy())
    return np.array(rows, np.float32)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        arrays = {name: logits_of(write_shape(name, Path(directory))) for name in SHAPES}
    made_with = f"ik-llama-cpp-python {version('ik-llama-cpp-python')}"
    np.savez_compressed(HERE / "gguf_shapes.npz", columns=COLUMNS, made_with=np.array(made_with), **arrays)


if __name__ == "__main__":
    main()
