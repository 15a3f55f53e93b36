"""Weights for the native backend: quantised, packed for its kernels, and written as one safetensors file.

`quantise_weights` takes any `Source`; `write_random_weights` makes a file of any shape without one. The layout of the
file is described in `layout`, the arithmetic in `codes`.
"""

from skywork_rt.export.quantise.random_codes import RANDOM_WEIGHTS, write_random_weights
from skywork_rt.export.quantise.weights import WEIGHTS, largest_weights_bytes, quantise_weights

__all__ = ["RANDOM_WEIGHTS", "WEIGHTS", "largest_weights_bytes", "quantise_weights", "write_random_weights"]
