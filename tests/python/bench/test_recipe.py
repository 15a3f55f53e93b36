"""The recipe's loop on graphs computed by numpy: it must say what any correct loop says, however slowly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from skywork_rt.bench.graphs import Array, ContractGraph
from skywork_rt.bench.recipe import RecipeConfig, RecipeLoop, choose_tokens
from skywork_rt.checkpoints.synthetic.presets import preset
from skywork_rt.checkpoints.synthetic.source import SyntheticSource
from skywork_rt.errors import InvalidArgumentError
from skywork_rt.export.graph.contract import FULL, INCREMENTAL, Contract, Sizes, input_specs
from skywork_rt.export.graph.reference import KvCache, ReferenceLlama, rotary_tables

LENGTH = 24
NO_EOS = RecipeConfig(eos_token_id=None)


class NumpySession:
    """A graph of the contract, computed by the reference model; checks every input that it does not need."""

    def __init__(self, model: ReferenceLlama, contract: Contract) -> None:
        self._model = model
        self._names = [spec.name for spec in input_specs(contract, model.config, Sizes())]
        self._shapes: list[tuple[int, ...]] = []
        self._bound: dict[str, Array] = {}
        self._outputs: list[NDArray[np.float32]] = []
        self.shapes_seen: list[tuple[int, ...]] = []

    @property
    def inputs(self) -> list[tuple[str, str, list[int]]]:
        return [(name, "float32", []) for name in self._names]

    def resize(self, shapes: Sequence[Sequence[int]]) -> None:
        self._shapes = [tuple(shape) for shape in shapes]
        self._bound = {}
        self.shapes_seen.append(self._shapes[0])

    def bind(self, index: int, array: Array) -> None:
        assert array.shape == self._shapes[index]
        assert array.flags.c_contiguous
        self._bound[self._names[index]] = array

    def run(self) -> None:
        assert set(self._bound) == set(self._names)
        rows = [self._row(row) for row in range(len(self._bound["tokens"]))]
        self._outputs = [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    def output(self, index: int) -> NDArray[np.float32]:
        return self._outputs[index].reshape(-1).copy()

    def time_runs(self, count: int) -> list[float]:
        raise NotImplementedError("not needed here")

    def _row(self, row: int) -> list[NDArray[np.float32]]:
        tokens = self._bound["tokens"][row]
        cache = self._visible_cache(row)
        cached = cache.length
        cos, sin = rotary_tables(self._model.config, np.arange(cached, cached + len(tokens)))
        assert np.array_equal(self._bound["cos"][row, 0], cos)
        assert np.array_equal(self._bound["sin"][row, 0], sin)
        if "new_mask" in self._bound:
            steps = np.arange(len(tokens))
            assert np.array_equal(self._bound["new_mask"][0, 0] == 0, steps <= steps[:, None])
        logits = self._model.forward(tokens.tolist(), cache)
        wanted = self._bound["logit_rows"] if "logit_rows" in self._bound else np.arange(len(tokens))
        news = [
            part[layer][None, :, cached:]
            for layer in range(self._model.config.layers)
            for part in (cache.keys, cache.values)
        ]
        return [logits[wanted], *news]

    def _visible_cache(self, row: int) -> KvCache:
        visible = self._bound["cache_mask"][row, 0, 0] == 0
        length = int(visible.sum())
        assert visible[:length].all(), "the cache's tokens are its first ones"
        layers = range(self._model.config.layers)
        keys = [self._bound[f"key_{layer}"][row, :, :length] for layer in layers]
        values = [self._bound[f"value_{layer}"][row, :, :length] for layer in layers]
        return KvCache(keys, values)


class Recipe:
    def __init__(self) -> None:
        self.model = ReferenceLlama(SyntheticSource(preset("tiny"), 3))
        self.full, self.incremental = (NumpySession(self.model, contract) for contract in (FULL, INCREMENTAL))
        config = self.model.config
        graphs = (ContractGraph(self.full, FULL, config), ContractGraph(self.incremental, INCREMENTAL, config))
        self.loop = RecipeLoop(config, *graphs, sequence_length=LENGTH)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe()


def test_rows_of_a_batch_get_the_ids_of_plain_greedy_decoding(recipe: Recipe) -> None:
    prompts = [[5, 9, 17], [40], [3, 3, 8, 21, 60, 7]]
    rows = recipe.loop.generate(prompts, 14, NO_EOS)
    for prompt, row in zip(prompts, rows, strict=True):
        assert row == [*prompt, *recipe.model.greedy(prompt, 14 - len(prompt))]


def test_prefill_pads_to_the_full_length_and_steps_see_the_whole_cache(recipe: Recipe) -> None:
    recipe.loop.generate([[1, 2], [3]], 5, NO_EOS)
    assert set(recipe.full.shapes_seen) == {(1, LENGTH)}
    assert recipe.incremental._shapes[3][-1] == LENGTH


def test_a_row_ends_at_its_end_token_and_the_others_go_on(recipe: Recipe) -> None:
    prompts = [[5, 9, 17], [40]]
    free = recipe.loop.generate(prompts, 12, NO_EOS)
    eos = free[0][5]
    ended = recipe.loop.generate(prompts, 12, RecipeConfig(eos_token_id=eos))
    assert ended[0] == free[0][: free[0].index(eos, 3) + 1]
    expected = free[1][: free[1].index(eos, 1) + 1] if eos in free[1][1:] else free[1]
    assert ended[1] == expected


def test_a_prompt_that_ends_in_padding_is_cut_as_the_recipe_does(recipe: Recipe) -> None:
    pad = NO_EOS.pad_token_id
    assert recipe.loop.generate([[5, 9, pad]], 6, NO_EOS) == recipe.loop.generate([[5, 9]], 6, NO_EOS)


@pytest.mark.parametrize(
    ("prompts", "max_length", "complaint"),
    [
        ([[1] * 8], 8, "prompt 0 has 8 tokens, but must have 1 to 7"),
        ([[1], []], 8, "prompt 1 has 0 tokens"),
        ([[1]], LENGTH + 1, f"max_length is {LENGTH + 1}, over the sequence length of {LENGTH}"),
    ],
)
def test_what_does_not_fit_is_refused(
    recipe: Recipe, prompts: list[list[int]], max_length: int, complaint: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        recipe.loop.generate(prompts, max_length, NO_EOS)


def test_the_chain_draws_from_the_best_ids_after_the_penalty() -> None:
    logits = np.array([[9.0, 8.0, 7.0, 1.0, 0.0, -1.0]], np.float32)
    history, lengths = np.array([[0, 5]], np.int32), np.array([2])
    config = RecipeConfig(do_sample=True, top_k=2, temperature=0.5, repetition_penalty=2.0)
    drawn = {int(choose_tokens(logits.copy(), history, lengths, config)[0]) for _ in range(200)}
    assert drawn == {1, 2}  # id 0 fell to 4.5


def test_the_nucleus_is_the_smallest_set_that_reaches_its_mass() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]], np.float32))
    config = RecipeConfig(do_sample=True, top_k=0, top_p=0.7)
    drawn = [
        int(choose_tokens(logits.copy(), np.zeros((1, 1), np.int32), np.array([1]), config)[0]) for _ in range(300)
    ]
    assert set(drawn) == {0, 1}
    assert 0.5 < drawn.count(0) / 300 < 0.75  # 0.5 / 0.8
