"""The cells run by MindSpore: the promises of a backend, and the ids and log-probabilities of the other backends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import Conformance, Make

from bundles import BACKENDS, full_graph_bundle, random_bundle
from golden import RandomGolden, SmolGolden
from skywork_rt import Generator
from skywork_rt._core import RawBackend
from skywork_rt.mindspore_backend.backend import MindSporeBackend

pytestmark = pytest.mark.slow

MakeBackend = Callable[[str, int, int, int], MindSporeBackend]

OTHERS: dict[str, dict[str, Any]] = {
    "lite": {"backend": "lite"},
    "native": {"backend": "native", "weights": "f32", "activations": "f32"},
}
PROMPTS = [[5, 6, 7], [9, 8], [3] * 20, [4, 4, 4, 4], list(range(30, 130))]
REQUESTS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "sampling": {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1, "seed": 5, "n": 2},
    "beams": {"temperature": 0, "num_beams": 3, "n": 3},
}


class TestMindSporeConformance(Conformance):
    @pytest.fixture
    def make(self, make_backend: MakeBackend) -> Make:
        return lambda batch, tokens: RawBackend.over(make_backend("qkv-bias", batch, 64, tokens))


def answers(generator: Generator, **request: Any) -> list[list[list[int]]]:
    results = generator.generate(PROMPTS, max_tokens=16, ignore_eos=True, **request)
    return [[output.token_ids for output in result.outputs] for result in results]


def logprobs(generator: Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of three tokens a place, of prompt and output."""
    results = generator.generate(PROMPTS, temperature=0, max_tokens=8, logprobs=3, prompt_logprobs=3, ignore_eos=True)
    rows = []
    for result in results:
        assert result.prompt_logprobs is not None
        assert result.outputs[0].logprobs is not None
        for row in (*result.prompt_logprobs[1:], *result.outputs[0].logprobs):
            assert row is not None
            rows.append(sorted(entry.logprob for entry in row.values())[-3:])
    return np.asarray(rows)


@pytest.mark.parametrize("name", ["mha", "qkv-bias"])
def test_ids_and_logprobs_are_those_of_the_other_backends(name: str, make_backend: MakeBackend) -> None:
    with Generator(None, backend=make_backend(name, 6, 256, 6 * 256)) as generator:
        ours = {kind: answers(generator, **request) for kind, request in REQUESTS.items()}
        our_logprobs = logprobs(generator)
    assert len({str(answer) for answer in ours.values()}) == len(ours), "each kind of request is a test of its own"
    for other in BACKENDS:
        with Generator(random_bundle(name), max_batch=6, **OTHERS[other]) as generator:
            for kind, request in REQUESTS.items():
                assert answers(generator, **request) == ours[kind], f"{kind} on {other}"
            np.testing.assert_allclose(logprobs(generator), our_logprobs, rtol=0, atol=1e-4, err_msg=other)


def test_prompts_that_begin_alike_are_computed_once(make_backend: MakeBackend) -> None:
    with Generator(None, backend=make_backend("mha", 3, 256, 3 * 256)) as generator:
        prompt = list(range(40, 110))
        first = generator.generate(prompt, temperature=0, max_tokens=5, ignore_eos=True)
        again = generator.generate(prompt, temperature=0, max_tokens=5, ignore_eos=True)
        assert generator.stats()["prefix_hit_tokens"] == len(prompt) - 1
    assert again.token_ids == first.token_ids


@pytest.mark.parametrize("name", ["mha", "qkv-bias"])
def test_logits_are_those_of_transformers(name: str, make_backend: MakeBackend) -> None:
    golden = RandomGolden.load(name)
    raw = RawBackend.over(make_backend(name, 6, 256, 6 * 256))
    seq = raw.open(64)
    golden.check(raw.forward([(seq, golden.ids, list(range(len(golden.ids))))]), range(len(golden.ids)))
    raw.truncate(seq, 20)
    golden.check(raw.forward([(seq, golden.ids[20:21], [0])]), [20])


def test_shapes_compile_once(make_backend: MakeBackend) -> None:
    """A second run of other lengths within the same sizes takes no new shape."""
    seen: list[set[tuple[int, ...]]] = []
    backend = make_backend("mha", 6, 256, 6 * 256)
    run = backend._runner.run  # type: ignore[union-attr]

    class Counting:
        def run(self, contract: Any, inputs: Any) -> Any:
            seen[-1].add((len(contract), *inputs[0].shape, *inputs[3].shape, *inputs[-1].shape))
            return run(contract, inputs)

    backend._runner = Counting()
    with Generator(None, backend=backend, prefix_cache=False) as generator:
        for batches in (((3,), (3, 40, 5, 17)), ((7, 60, 2, 30), (50,))):
            seen.append(set())
            for lengths in batches:
                prompts = [[4] * length for length in lengths]
                generator.generate(prompts, temperature=0, max_tokens=60, ignore_eos=True)
    assert seen[1] <= seen[0]
    assert len(seen[0]) <= 5


@pytest.mark.skipif("lite" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out lite")
def test_a_bundle_with_the_full_graph_alone_runs_on_lite_and_on_mindspore(make_backend: MakeBackend) -> None:
    bundle = full_graph_bundle()
    found = {}
    for backend in ("lite", "mindspore"):
        with Generator(bundle, backend=backend, max_batch=4, max_length=128) as generator:
            assert generator.options["weights"] == "f32"
            results = generator.generate(PROMPTS[:4], max_tokens=16, temperature=0, ignore_eos=True)
            beams = generator.generate(PROMPTS[0], max_tokens=16, temperature=0, num_beams=3, ignore_eos=True)
            found[backend] = [*(result.token_ids for result in results), beams.token_ids]
    with Generator(None, backend=make_backend("qkv-bias", 6, 256, 6 * 256)) as generator:
        results = generator.generate(PROMPTS[:4], max_tokens=16, temperature=0, ignore_eos=True)
        assert [result.token_ids for result in results] == found["mindspore"][:4]
    assert found["lite"] == found["mindspore"]


@pytest.mark.skipif("native" not in BACKENDS, reason="SKYWORK_RT_TEST_BACKENDS leaves out native")
def test_dequantised_weights_give_the_ids_of_the_native_backend(tiny_bundle: Path) -> None:
    texts = ["The capital", "of", "France is Paris and"]
    request: dict[str, Any] = {"max_tokens": 24, "temperature": 0, "ignore_eos": True}
    with Generator(tiny_bundle, backend="native", weights="int8", activations="f32", max_batch=4) as generator:
        wanted = [(result.token_ids, result.text) for result in generator.generate(texts, **request)]
    with Generator(tiny_bundle, backend="mindspore", weights="int8", max_batch=4, max_length=128) as generator:
        assert generator.options["weights"] == "int8"
        assert generator.options["backend"] == "mindspore"
        assert [(result.token_ids, result.text) for result in generator.generate(texts, **request)] == wanted
    with Generator(tiny_bundle, backend="native", weights="f32", activations="f32", max_batch=4) as generator:
        exact = [(result.token_ids, result.text) for result in generator.generate(texts, **request)]
    assert exact != wanted, "int8 weights would be told from float32 ones"


def test_smollm2_continues_as_transformers_does(smollm2_bundle: Path) -> None:
    """From the weights inside of Lite's graph, as the packed ones are quantised."""
    prompt = next(prompt for prompt in SmolGolden.load().prompts.values() if 8 <= len(prompt.ids) <= 16)
    with Generator(smollm2_bundle, backend="mindspore", max_batch=1, max_length=128, prefix_cache=False) as generator:
        assert generator.options["weights"] == "f32"
        result = generator.generate(prompt.ids, temperature=0, max_tokens=20, ignore_eos=True)
    assert result.token_ids == prompt.greedy[:20]
    assert min(prompt.margins[:20]) > 1e-3, "the prompt is one whose best token is never nearly equalled"
