"""What ascend_acceptance.sh asks of two backends: the same greedy ids, and log-probabilities near each other.

    python ascend_acceptance.py BUNDLE --on ascend --against native --report parity.md

One of the backends computes in float16 on a card, the other in float32 on the processor; both have the same weights.
Where ids part, the card may be right as well: a near tie, that is a place where the two best log-probabilities of the
other backend are closer than `--tie`, is counted and is no failure.
"""

from __future__ import annotations

import argparse
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
    tie: float | None
    """Difference of the two best log-probabilities where the ids part."""
    worst: float
    """Largest difference of a chosen token's log-probability while the ids are equal."""


def compare(on: skywork_rt.Generator, against: skywork_rt.Generator) -> Iterator[Compared]:
    """Greedy tokens of every prompt, all prompts of a backend in one call."""
    params = skywork_rt.SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=2)
    for prompt, one, other in zip(
        PROMPTS, on.generate(PROMPTS, params), against.generate(PROMPTS, params), strict=True
    ):
        yield _compare(prompt, one.samples[0], other.samples[0])


def _compare(prompt: str, one: skywork_rt.CompletionOutput, other: skywork_rt.CompletionOutput) -> Compared:
    worst = 0.0
    rows = zip(one.token_ids, other.token_ids, one.logprobs or [], other.logprobs or [], strict=False)
    for place, (ours, theirs, row, reference) in enumerate(rows):
        if ours != theirs:
            best = sorted((entry.logprob for entry in reference.values()), reverse=True)
            return Compared(prompt, place, best[0] - best[1], worst)
        worst = max(worst, abs(row[ours].logprob - reference[theirs].logprob))
    return Compared(prompt, min(len(one.token_ids), len(other.token_ids)), None, worst)


def write_report(path: Path, found: Sequence[Compared], tie: float, tolerance: float) -> bool:
    """A Markdown table; False when a prompt fails."""
    failures = [c for c in found if c.worst > tolerance or (c.tie is not None and c.tie > tie)]
    ties = sum(c.tie is not None and c.tie <= tie for c in found)
    lines = ["| prompt | equal ids | near tie | largest difference |", "|---|---:|---:|---:|"]
    for c in found:
        prompt = c.prompt.strip().replace("\n", " ")
        lines.append(f"| {prompt} | {c.equal} | {'-' if c.tie is None else f'{c.tie:.3f}'} | {c.worst:.4f} |")
    lines += ["", f"{len(found) - len(failures)} of {len(found)} prompts pass, {ties} of them after a near tie."]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return not failures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--on", default="ascend", help="backend that is tested")
    parser.add_argument("--against", default="native", help="backend that is compared with")
    parser.add_argument("--report", type=Path, required=True, help="file to write")
    parser.add_argument("--tie", type=float, default=0.1, help="log-probabilities that are closer are a near tie")
    parser.add_argument("--tolerance", type=float, default=0.1, help="of a chosen token's log-probability")
    given = parser.parse_args(arguments)
    with (
        skywork_rt.Generator(given.bundle, backend=given.on) as on,
        skywork_rt.Generator(given.bundle, backend=given.against) as against,
    ):
        passed = write_report(given.report, list(compare(on, against)), given.tie, given.tolerance)
    print(given.report.read_text(encoding="utf-8"))
    return 0 if passed else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except skywork_rt.SkyworkError as error:
        sys.exit(f"error: {error}")
