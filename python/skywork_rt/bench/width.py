"""How much of the speed of a prompt is left when as many rows are one token each of different sequences.

A prompt with the logits of every position asks the same products of the same kernels as a batch that decodes; what a
batch takes more is attention over sequences of its own, matrices that are unpacked for fewer rows at a time, and the
engine's part of every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skywork_rt.bench.drivers.generator import GeneratorDriver
from skywork_rt.bench.metrics import decode_rate
from skywork_rt.bench.rows import Row, make_row
from skywork_rt.bench.runner import Report
from skywork_rt.bench.stats import median_ratio
from skywork_rt.bench.subjects import Subject
from skywork_rt.bench.workloads import Workload

__all__ = ["CACHED", "WIDTHS", "WidthRates", "measure_width"]

WIDTHS = (8, 16, 64)
"""Sequences that decode side by side."""
CACHED = 64
"""Tokens that each of them has cached by then."""

_NEW = 33
_PROMPT = 512
_WANTED = {16: 70}


@dataclass
class WidthRates:
    """Tokens a second of one runtime, one entry a repeat; those of one repeat were measured right after another."""

    subject: Subject
    prompt: list[float] = field(default_factory=list)
    decode: dict[int, list[float]] = field(default_factory=lambda: {width: [] for width in WIDTHS})

    def share(self, width: int) -> float:
        """Percent of the prompt's rate."""
        return 100 * median_ratio(self.decode[width], self.prompt)

    def rows(self) -> list[Row]:
        head = (self.subject.runtime, self.subject.weights, self.subject.bits_per_weight)
        rows = [make_row(*head, "prompt_with_logits", "tokens/s", self.prompt)]
        for width in WIDTHS:
            shares = [100 * a / b for a, b in zip(self.decode[width], self.prompt, strict=True)]
            rows.append(make_row(*head, f"decode_b{width}_after_{CACHED}", "tokens/s", self.decode[width]))
            rows.append(make_row(*head, f"decode_share_b{width}", "%", shares))
        return rows

    def comparisons(self) -> list[str]:
        """A sentence for each width."""
        return [
            f"{self.subject.label}: {width} rows after {CACHED} tokens decode at {self.share(width):.0f} % of a prompt "
            f"with all its logits" + (f" (wanted: at least {_WANTED[width]} %)" if width in _WANTED else "")
            for width in WIDTHS
        ]


def measure_width(
    bundle: Path, subjects: Sequence[Subject], threads: int, repeats: int, report: Report
) -> list[WidthRates]:
    """Opens one runtime after the other. The first round of each warms up and does not count."""
    rates = []
    for index, subject in enumerate(subjects):
        options = {"threads": threads, "max_batch": max(WIDTHS), "max_length": _PROMPT + 1}
        driver = GeneratorDriver(bundle, {**subject.options, **options})
        found = WidthRates(subject)
        try:
            for repeat in range(-1, repeats):
                report("measuring", index * (repeats + 1) + repeat + 1, len(subjects) * (repeats + 1))
                _measure_once(driver, found, repeat)
        finally:
            driver.close()
        rates.append(found)
    report("measuring", len(subjects) * (repeats + 1), len(subjects) * (repeats + 1))
    return rates


def _measure_once(driver: GeneratorDriver, rates: WidthRates, repeat: int) -> None:
    seed = 1 + repeat
    prompt = driver.prompt_rate_with_logits(_PROMPT, seed)
    decode = {
        width: decode_rate(driver.run(Workload(f"after_{CACHED}", width, CACHED, _NEW), seed)) for width in WIDTHS
    }
    if repeat < 0:
        return
    rates.prompt.append(prompt)
    for width, rate in decode.items():
        rates.decode[width].append(rate)
