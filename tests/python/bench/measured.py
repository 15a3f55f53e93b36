"""Measurements as a run would leave them, with round numbers."""

from __future__ import annotations

from skywork_rt.bench.runner import Measurements
from skywork_rt.bench.subjects import Subject

LITE = Subject("skywork_rt:lite", "f32/f32", 38.4, 538_000_000, ("full.ms", "incremental.ms"), {"backend": "lite"})
PREDICT = Subject("lite:predict", "f32/f32", 38.4, 538_000_000, ("full.ms", "incremental.ms"))
RECIPE = Subject("recipe:python-loop", "f32/f32", 38.4, 538_000_000, ("full.ms", "incremental.ms"))
NATIVE = Subject(
    "skywork_rt:native", "int4/f32", 5.75, 100_000_000, ("weights-int4.safetensors",), {}, 104857600, 40960
)

SEED_RATES = {32: 80.0, 64: 85.0, 128: 90.0, 256: 95.0, 512: 100.0, 1024: 100.0}


def three_repeats() -> Measurements:
    """The machine is slow in the second repeat."""
    measurements = Measurements(
        streams=[30e9, 31e9, 29e9], shares={LITE: [80.0, 84.0, 90.0], NATIVE: [58.0, 60.0, 57.0]}
    )
    for mood in (1.0, 0.5, 1.0):
        for subject, rate in ((LITE, 50.0), (PREDICT, 51.0), (RECIPE, 20.0), (NATIVE, 175.0)):
            measurements.add(subject, "decode_b1", rate * mood)
        for length, rate in SEED_RATES.items():
            measurements.add(LITE, f"new_{length}", rate * mood)
        measurements.add(NATIVE, "peak_rss", 225.0)
    return measurements
