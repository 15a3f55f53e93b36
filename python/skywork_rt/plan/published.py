"""Published decode throughput of Skywork-13B at batch 2, tokens/s by generated length, from MindFormers' model page."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["A100", "ATLAS_800T_A2", "relative_to_longest"]

ATLAS_800T_A2: Mapping[int, float] = {1024: 45.17, 512: 43.16, 256: 39.15, 128: 32.83, 64: 23.67, 32: 10.87}
A100: Mapping[int, float] = {1024: 36.73, 512: 38.49, 256: 38.09, 128: 35.47, 64: 29.16, 32: 16.53}


def relative_to_longest(throughput: Mapping[int, float]) -> dict[int, float]:
    """Each length's throughput by that of the longest: what short answers lose, on whatever hardware."""
    longest = throughput[max(throughput)]
    return {length: throughput[length] / longest for length in sorted(throughput)}
