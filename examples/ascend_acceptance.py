"""What ascend_acceptance.sh asks of two backends: the same greedy ids, and log-probabilities near each other.

    python ascend_acceptance.py BUNDLE --on ascend --against native

One of the backends computes in float16 on a card, the other in float32 on the processor; both have the same weights.
Where ids part, the card may be right as well: a near tie, that is a place where the other backend gives the card's
token a log-probability that is at most `--tie` below its own best one, is counted and is no failure. Prints a Markdown
table; ends with 1 when a prompt fails.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import skywork_rt

PROMPTS = (
    "陕西的省会是西安，甘肃的省会是兰州，河南的省会是郑州",
    "The capital of France is",
    "def fibonacci(n):\n",
    "1, 1, 2, 3, 5, 8,",
    "今天天气很好，我们一起去",
    "Once upon a time",
    "水在标准大气压下的沸点是",
    "The three primary colours are",
)
NEW_TOKENS = 64


@dataclass(frozen=True)
class Compared:
    """One prompt on both backends."""

    prompt: str
    equal: int
    """Tokens before the ids part; NEW_TOKENS, or what both made, when they do not."""
    gap: float | None
    """Where the ids part: how far the other backend puts this one's token below its own, infinite where it is not among
    its best. None when they do not part."""
    worst: float
    """Largest difference of a chosen token's log-probability while the ids are equal."""


def compare(on: skywork_rt.Generator, against: skywork_rt.Generator) -> Iterator[Compared]:
    """Greedy tokens of every prompt, all prompts of a backend in one call."""
    params = skywork_rt.SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=5)
    for prompt, one, other in zip(
        PROMPTS, on.generate(PROMPTS, params), against.generate(PROMPTS, params), strict=True
    ):
        yield _compare(prompt, one.outputs[0], other.outputs[0])


def _compare(prompt: str, one: skywork_rt.CompletionOutput, other: skywork_rt.CompletionOutput) -> Compared:
    assert one.logprobs is not None and other.logprobs is not None, "they were asked for"
    differences = [0.0]
    # Of two answers of other lengths the shorter one ends with its eos, where the longer one has another id.
    rows = zip(one.token_ids, other.token_ids, one.logprobs, other.logprobs, strict=False)
    for place, (ours, theirs, row, reference) in enumerate(rows):
        if ours != theirs:
            gap = reference[theirs].logprob - reference[ours].logprob if ours in reference else math.inf
            return Compared(prompt, place, gap, _worst(differences))
        differences.append(abs(row[ours].logprob - reference[theirs].logprob))
    return Compared(prompt, len(one.token_ids), None, _worst(differences))


def _worst(differences: Sequence[float]) -> float:
    """The largest; NaN, which max() passes over, when there is one: an overflow on the card."""
    return math.nan if any(map(math.isnan, differences)) else max(differences)


def report(found: Sequence[Compared], tie: float, tolerance: float) -> tuple[str, bool]:
    """A Markdown table, and whether every prompt passes. A log-probability that is no number does not."""
    passing = [c for c in found if c.worst <= tolerance and (c.gap is None or c.gap <= tie)]
    ties = sum(c.gap is not None for c in passing)
    lines = ["| prompt | equal ids | gap where they part | largest difference | |", "|---|---:|---:|---:|---|"]
    for c in found:
        prompt, gap = " ".join(c.prompt.split()).replace("|", "\\|"), "-" if c.gap is None else f"{c.gap:.3f}"
        lines.append(f"| {prompt} | {c.equal} | {gap} | {c.worst:.4f} | {'' if c in passing else 'fails'} |")
    lines += ["", f"{len(passing)} of {len(found)} prompts pass, {ties} of them after a near tie."]
    return "\n".join(lines), len(passing) == len(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--on", default="ascend", help="backend that is tested")
    parser.add_argument("--against", default="native", help="backend that is compared with")
    parser.add_argument("--tie", type=float, default=0.1, help="log-probabilities this near are a tie")
    parser.add_argument("--tolerance", type=float, default=0.1, help="of a chosen token's log-probability")
    given = parser.parse_args(arguments)
    with (
        skywork_rt.Generator(given.bundle, backend=given.on) as on,
        skywork_rt.Generator(given.bundle, backend=given.against) as against,
    ):
        table, passed = report(list(compare(on, against)), given.tie, given.tolerance)
    print(table)
    return 0 if passed else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except skywork_rt.SkyworkError as error:
        sys.exit(f"error: {error}")
