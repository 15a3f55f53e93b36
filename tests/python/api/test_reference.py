"""The numpy reference agrees with transformers: it is what exports and tests are compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_models import CASES, SEED

from golden import RandomGolden, SmolGolden
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.export.graph.reference import ReferenceLlama


@pytest.mark.parametrize("name", CASES)
def test_reference_gives_the_logits_of_transformers_on_random_models(name: str) -> None:
    golden = RandomGolden.load(name)
    model = ReferenceLlama(SyntheticSource(CASES[name].config, SEED))
    golden.check(model.forward(golden.ids), range(len(golden.ids)))


@pytest.mark.parametrize("name", CASES)
def test_reference_gives_the_same_logits_in_chunks(name: str) -> None:
    golden = RandomGolden.load(name)
    model = ReferenceLlama(SyntheticSource(CASES[name].config, SEED))
    cache = model.new_cache()
    start = 0
    for size in (1, 4, 5, 8, 16):
        rows = range(start, start + size)
        golden.check(model.forward(golden.ids[rows.start : rows.stop], cache), rows)
        start += size


@pytest.mark.parametrize("name", ["mha", "gqa", "skywork-shape", "rope-yarn"])
def test_reference_gives_the_greedy_ids_of_transformers_on_random_models(name: str) -> None:
    golden = RandomGolden.load(name)
    model = ReferenceLlama(SyntheticSource(CASES[name].config, SEED))
    assert list(model.greedy(golden.ids, len(golden.greedy))) == golden.greedy


@pytest.mark.slow
def test_reference_gives_the_logits_of_transformers_on_smollm2(smollm2_file: Path) -> None:
    from skywork_rt.checkpoints.open import open_source

    model = ReferenceLlama(open_source(smollm2_file))
    golden = SmolGolden.load()
    for name in ("design", "emoji", "provinces"):
        prompt = golden.prompts[name]
        logits = model.forward(prompt.ids)
        golden.check(name, logits[golden.positions(name)], golden.positions(name))
