"""Backends written in Python: what computes logits, while requests, samplers, beams and texts stay the core's.

    from skywork_rt import Generator
    from skywork_rt.backends import ModelSpec, PythonBackend

    class Counting(PythonBackend):  # after a token comes the next one
        model = ModelSpec(vocab_size=100, max_length=1000)

        def forward(self, chunks, watch):
            last = np.concatenate([chunk.tokens[chunk.logit_rows] for chunk in chunks])
            return np.eye(100, dtype=np.float32)[(last + 1) % 100]

    with Generator(None, backend=Counting()) as generator:
        print(generator.generate([7, 8], temperature=0, max_tokens=3).token_ids)  # [9, 10, 11]

Such a backend takes the GIL while it computes, as no other does: its steps and the program's own Python code take
turns. It is for experiments and for comparing, not for serving.
"""

from __future__ import annotations

from skywork_rt._core import ModelSpec, RopeSpec
from skywork_rt.backends.python_backend import Chunk, Move, PythonBackend, Traits, Watch

__all__ = ["Chunk", "ModelSpec", "Move", "PythonBackend", "RopeSpec", "Traits", "Watch"]
