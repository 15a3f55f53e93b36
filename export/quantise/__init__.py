"""Weights for the native backend: quantised, packed for its kernels, and written as one safetensors file.

`quantise_weights` takes any `Source`; `write_random_weights` makes a file of any shape without one. What all types of
weights share is described in `layout`, each of them in its module in `types`.
"""

from skywork_rt.export.quantise.random_codes import write_random_weights
from skywork_rt.export.quantise.types import DEFAULT_WEIGHTS, GGUF, RANDOM_WEIGHTS, ROUNDED_WEIGHTS, WEIGHTS
from skywork_rt.export.quantise.weights import gguf_weights_bytes, largest_weights_bytes, quantise_weights

__all__ = [
    "DEFAULT_WEIGHTS",
    "GGUF",
    "RANDOM_WEIGHTS",
    "ROUNDED_WEIGHTS",
    "WEIGHTS",
    "gguf_weights_bytes",
    "largest_weights_bytes",
    "quantise_weights",
    "write_random_weights",
]
