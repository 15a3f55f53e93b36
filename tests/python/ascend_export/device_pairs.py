"""Pairs of graphs that the tests build, and batches with known answers that they are run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from random_models import CASES, SEED

from golden import RandomGolden
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.export.device_cache import DeviceForm, Gear
from skywork_rt.export.graph.ascend.feeds import prompt_feeds, step_feeds
from skywork_rt.export.graph.ascend.options import AscendOptions, plan_form
from skywork_rt.export.graph.reference import ReferenceLlama

STEPS = 64
LENGTH = 96


@dataclass(frozen=True)
class Pair:
    """A random model and what its graphs are asked to be. `gear` is where its batch begins, `step` where it goes on."""

    model: str
    options: AscendOptions
    prompts: tuple[int, ...] = (9, 24, 1)
    gear: Gear = (3, LENGTH)
    step: Gear = (3, LENGTH)

    @property
    def source(self) -> SyntheticSource:
        return SyntheticSource(CASES[self.model].config, SEED)

    @property
    def form(self) -> DeviceForm:
        return plan_form(self.options, CASES[self.model].config)


def _pair(model: str, form: str, precision: str, gears: Sequence[Gear] = (), **options: Any) -> Pair:
    chosen = AscendOptions(3, LENGTH, gears, form, precision, **options)
    if not gears:
        return Pair(model, chosen)
    # Fewer rows and positions than the cache has; the steps outgrow the gear that they begin in.
    return Pair(model, chosen, (9, 24), (2, 32), (2, LENGTH))


GEARS = ((1, 32), (2, 32), (2, LENGTH))

PAIRS: Mapping[str, Pair] = {
    "assign": _pair("untied", "assign", "float32"),
    "assign-gears": _pair("gqa", "assign", "float32", GEARS),
    "assign-half": _pair("qkv-bias", "assign", "float16"),
    # Skywork-13B's proportions and its prime vocabulary, as it would be exported
    "assign-skywork": _pair("skywork-shape", "assign", "float16"),
    "indexed": _pair("gqa", "indexed", "float32"),
    "indexed-gears": _pair("untied", "indexed", "float32", GEARS),
    "indexed-half": _pair("gqa", "indexed", "float16"),
    "paged": _pair("gqa", "paged", "float32"),
    "paged-gears": _pair("wide-heads", "paged", "float32", GEARS, block_size=5),
    "paged-half": _pair("qkv-bias", "paged", "float16"),
}
ON_CPU = [name for name in PAIRS if name.startswith("assign")]
"""Those whose operations MindSpore's CPU backend has."""


@dataclass(frozen=True)
class Batch:
    """Rows of different lengths: `tokens` of each, prompt and what follows, and the reference's logits at each place.

    What follows a prompt is the rest of the golden file's ids, the golden file's greedy ids, and then the reference's.
    """

    prompts: Sequence[int]
    tokens: Sequence[Sequence[int]]
    logits: Sequence[NDArray[np.float32]]
    calls: Sequence[Mapping[str, NDArray[Any]]] = field(repr=False)

    def expected(self, call: int) -> NDArray[np.float32]:
        """Logits [rows, vocab] that call `call` must give: 0 is the full graph's."""
        return np.stack([row[length - 1 + call] for row, length in zip(self.logits, self.prompts, strict=True)])

    def position(self, row: int, call: int) -> int:
        """Of the last token of `row` that call `call` has seen."""
        return self.prompts[row] - 1 + call


def make_batch(pair: Pair) -> Batch:
    golden, reference = RandomGolden.load(pair.model), ReferenceLlama(pair.source)
    tokens, logits = [], []
    known = [*golden.ids, *golden.greedy]
    for length in pair.prompts:
        cache = reference.new_cache()
        row, rows = list(known), [reference.forward(known, cache)]
        while len(row) < length + STEPS:
            row.append(int(rows[-1][-1].argmax()))
            rows.append(reference.forward(row[-1:], cache))
        tokens.append(row[: length + STEPS])
        logits.append(np.concatenate(rows)[: length + STEPS])
    return Batch(pair.prompts, tokens, logits, _calls(pair, tokens))


def _calls(pair: Pair, tokens: Sequence[Sequence[int]]) -> list[Mapping[str, NDArray[Any]]]:
    form = pair.form
    calls = [prompt_feeds(form, [row[:n] for row, n in zip(tokens, pair.prompts, strict=True)], pair.gear)]
    for step in range(STEPS):
        lengths = [n + step + 1 for n in pair.prompts]
        fits = max(lengths) <= pair.gear[1]
        new = [row[length - 1] for row, length in zip(tokens, lengths, strict=True)]
        calls.append(step_feeds(form, new, lengths, pair.gear if fits else pair.step))
    return calls


@dataclass(frozen=True)
class Built:
    """A pair with its graph files, its batch, and what MindSpore's CPU backend gave for it, where it can."""

    pair: Pair
    graphs: Mapping[str, Path]
    batch: Batch
    ran: Mapping[str, NDArray[Any]] | None
