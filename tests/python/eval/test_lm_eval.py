"""lm-evaluation-harness on this runtime gives the numbers that it gives on transformers (tests/golden).

Allowed differences of a log-likelihood: 0.01, which is what float32 sums in another order come to over some ten tokens;
that of a text of 150 tokens: 0.05. Accuracies have to be equal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundles import BACKENDS
from cores import ONE_CORE
from golden import GOLDEN
from skywork_rt import Generator, InvalidArgumentError, SamplingParams, UnsupportedError

TASKS = Path(__file__).parent / "tasks"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "smollm2_tasks.json").read_text(encoding="utf-8"))
LOGLIKELIHOOD, LONG_LOGLIKELIHOOD = 0.01, 0.05

#: Of the 42 questions in the form of a chat: Lite takes three times as long, and answered them all without a template.
CHATS = {"lite": 14, "native": None}

#: Likewise of the beam searches with stop texts, which the core does alone: one of each width but 2.
BEAM_STOPS_ON_LITE = ("provinces", "emoji")


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`datasets` neither asks the network nor writes into the home directory. It reads these when first imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        yield


def model_args(bundle: Path, backend: str) -> dict[str, Any]:
    options: dict[str, Any] = {} if backend == "lite" else {"weights": "int4", "activations": "f32"}
    return {"bundle": str(bundle), "backend": backend, "max_length": 1024, **options, **ONE_CORE}


def evaluate(model: Any, tasks: list[str], **options: Any) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    ours = TaskManager(include_path=str(TASKS), include_defaults=False)  # reading all of its own takes 6 s each time
    found = simple_evaluate(
        model=model, tasks=tasks, task_manager=ours, log_samples=True, bootstrap_iters=0, **options,
    )  # fmt: skip
    assert found is not None
    return dict(found)


def metrics(results: dict[str, Any], task: str) -> dict[str, float]:
    return {key.removesuffix(",none"): value for key, value in results["results"][task].items()}


def responses(results: dict[str, Any], task: str) -> list[Any]:
    return [sample["filtered_resps"] for sample in sorted(results["samples"][task], key=lambda s: int(s["doc_id"]))]


def assert_choices(results: dict[str, Any], expected: dict[str, Any], limit: int | None = None) -> None:
    """Every answer's log-likelihood within LOGLIKELIHOOD, its greedy flag equal; of all questions equal accuracies."""
    found = metrics(results, "skywork_facts")
    if limit is None:
        assert {name: found[name] for name in ("acc", "acc_norm")} == pytest.approx(expected["metrics"], abs=1e-12)
    answers = responses(results, "skywork_facts")
    assert len(expected["responses"]) == 42
    for document, wanted in zip(answers, expected["responses"][:limit], strict=True):
        assert [float(value) for value, _ in document] == pytest.approx(
            [float(value) for value, _ in wanted], abs=LOGLIKELIHOOD
        )
        assert [greedy in (True, "True") for _, greedy in document] == [g in (True, "True") for _, g in wanted]


@pytest.fixture(scope="module")
def model(smollm2_bundle: Path, backend: str) -> Any:
    from lm_eval.api.registry import get_model

    import skywork_rt.lm_eval  # noqa: F401  # registers the model

    return get_model("skywork_rt").create_from_arg_obj(model_args(smollm2_bundle, backend), {"batch_size": 1})


@pytest.mark.slow
def test_a_multiple_choice_task_scores_as_with_transformers(smollm2_bundle: Path, backend: str) -> None:
    """By name, through lm-eval's own argument string."""
    import skywork_rt.lm_eval  # noqa: F401  # registers the model

    arguments = ",".join(f"{name}={value}" for name, value in model_args(smollm2_bundle, backend).items())
    results = evaluate("skywork_rt", ["skywork_facts"], model_args=arguments)
    assert_choices(results, EXPECTED["lm_eval"]["skywork_facts"])
    assert results["config"]["skywork_rt_options"]["backend"] == backend


@pytest.mark.slow
def test_a_chat_templates_prompts_score_as_with_transformers(model: Any, backend: str) -> None:
    """And the context of several answers is computed once."""
    before, limit = model._generator.stats(), CHATS[backend]
    results = evaluate(model, ["skywork_facts"], apply_chat_template=True, limit=limit)
    assert_choices(results, EXPECTED["lm_eval_chat"]["skywork_facts"], limit)
    after = model._generator.stats()
    prompts = after["prompt_tokens"] - before["prompt_tokens"]
    assert after["prefix_hit_tokens"] - before["prefix_hit_tokens"] > 0.6 * prompts


@pytest.mark.slow
def test_rolling_log_likelihoods_are_those_of_transformers(model: Any) -> None:
    expected = EXPECTED["lm_eval"]["skywork_sentences"]
    results = evaluate(model, ["skywork_sentences"])
    found, wanted = (
        [float(document[0]) for document in rows]
        for rows in (responses(results, "skywork_sentences"), expected["responses"])
    )
    assert found == pytest.approx(wanted, abs=LONG_LOGLIKELIHOOD)
    assert metrics(results, "skywork_sentences")["word_perplexity"] == pytest.approx(
        expected["metrics"]["word_perplexity"], rel=1e-3
    )


@pytest.mark.slow
def test_generations_end_where_those_of_transformers_do(model: Any) -> None:
    expected = EXPECTED["lm_eval"]["skywork_answers"]
    results = evaluate(model, ["skywork_answers"])
    assert responses(results, "skywork_answers") == expected["responses"]
    assert metrics(results, "skywork_answers")["exact_match"] == expected["metrics"]["exact_match"]


@pytest.mark.slow
def test_beams_with_stop_texts_are_those_of_transformers(model: Any, backend: str) -> None:
    for case in EXPECTED["beam_stops"]:
        if backend != "lite" or case["prompt"] in BEAM_STOPS_ON_LITE:
            assert_beams(model._generator, case)


def assert_beams(generator: Generator, case: dict[str, Any]) -> None:
    """The hypotheses of a search, their scores and texts, and where they end."""
    from golden import SmolGolden

    prompt = SmolGolden.load().prompts[case["prompt"]]
    result = generator.generate(
        prompt.ids, temperature=0, num_beams=case["width"], n=case["width"], max_tokens=case["max_tokens"],
        stop=case["stop"], logprobs=0,
    )  # fmt: skip
    expected = case["hypotheses"]
    assert [output.token_ids for output in result.outputs] == [hypothesis["token_ids"] for hypothesis in expected]
    for output, hypothesis in zip(result.outputs, expected, strict=True):
        assert output.cumulative_logprob is not None
        assert output.logprobs is not None
        assert output.cumulative_logprob / len(output.token_ids) == pytest.approx(hypothesis["score"], abs=1e-3)
        path = [row[token].logprob for token, row in zip(output.token_ids, output.logprobs, strict=True)]
        assert sum(path) == pytest.approx(output.cumulative_logprob, abs=1e-3)
        whole = generator.decode(output.token_ids)
        ends = [whole.index(stop) for stop in case["stop"] if stop in whole]
        assert output.text == (whole[: min(ends)] if ends else whole)
        assert (output.stop_reason in case["stop"]) == bool(ends)


@pytest.fixture
def tiny(tiny_bundle: Path, backend: str) -> Any:
    from skywork_rt.lm_eval import SkyworkLM

    return SkyworkLM(str(tiny_bundle), backend=backend, max_length=64, max_batch=4)


def instances(*arguments: tuple[Any, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance("loglikelihood", {}, each, i) for i, each in enumerate(arguments)]


def test_contexts_that_are_too_long_are_cut_on_the_left(tiny: Any) -> None:
    context, answer = "the quick brown fox " * 40, " dog"
    (found,) = tiny.loglikelihood(instances((context, answer)), disable_tqdm=True)
    ids = tiny.tok_encode(context + answer)
    start = len(tiny.tok_encode(context.rstrip()))
    kept = ids[-(tiny.max_length + 1) :]
    score = tiny._generator.score(kept[: len(kept) - (len(ids) - start)], ids[start:])
    assert found == (pytest.approx(score.logprob, abs=1e-4), score.is_greedy)
    with pytest.raises(InvalidArgumentError, match="does not fit"):
        tiny.loglikelihood(instances(("the", " fox" * 200)), disable_tqdm=True)


def test_a_text_longer_than_the_model_is_scored_in_windows(tiny: Any) -> None:
    text = "the quick brown fox jumps over the lazy dog " * 24
    ids = tiny.tok_encode(text)
    assert len(ids) > 2 * tiny.max_length
    (found,) = tiny.loglikelihood_rolling(instances((text,)), disable_tqdm=True)
    window, total = tiny.max_length, 0.0
    for begin in range(0, len(ids), window):
        part = ids[begin : begin + window]
        whole = [tiny.prefix_token_id, *ids][max(0, begin + len(part) - window) : begin + len(part) + 1]
        total += tiny._generator.score(whole[: -len(part)], part).logprob
    assert found == pytest.approx(total, abs=1e-3)


def test_an_empty_context_begins_with_bos(tiny: Any) -> None:
    (found,) = tiny.loglikelihood(instances(("", "the fox")), disable_tqdm=True)
    expected = tiny._generator.score([tiny.prefix_token_id], tiny.tok_encode("the fox", add_special_tokens=False))
    assert found[0] == pytest.approx(expected.logprob, abs=1e-4)


def test_answers_come_in_the_order_of_the_requests(tiny: Any) -> None:
    pairs = [(context, answer) for context in ("b c", "a", "the fox", "a b") for answer in (" x", " yy")]
    together = tiny.loglikelihood(instances(*pairs), disable_tqdm=True)
    alone = [tiny.loglikelihood(instances(pair), disable_tqdm=True)[0] for pair in pairs]
    assert [value for value, _ in together] == pytest.approx([value for value, _ in alone], abs=1e-4)
    asked = [(context, {"max_gen_toks": 5, "until": []}) for context, _ in pairs]
    texts = tiny.generate_until(instances(*asked), disable_tqdm=True)
    assert texts == [tiny.generate_until(instances(one), disable_tqdm=True)[0] for one in asked]


def test_generation_arguments_become_sampling_params(tiny: Any) -> None:
    eos_id = tiny.eot_token_id
    eos = tiny._text.token(eos_id)
    _, params = tiny._prepare("the", {"until": [eos, "\n", ""], "max_gen_toks": 7, "do_sample": False, "top_k": 3})
    assert params == SamplingParams(temperature=0, max_tokens=7, stop=["\n"], stop_token_ids=[eos_id], top_k=3)
    _, params = tiny._prepare("the", {"do_sample": True, "temperature": 0.7, "until": "x", "max_gen_toks": 9})
    assert params == SamplingParams(temperature=0.7, max_tokens=9, stop=["x"], stop_token_ids=[])
    with pytest.raises(InvalidArgumentError, match="top_p"):
        tiny._prepare("the", {"topp": 0.9, "max_gen_toks": 4})
    with pytest.raises(InvalidArgumentError, match="max_gen_toks is 64"):
        tiny._prepare("the", {"max_gen_toks": 64})


def test_a_continued_message_ends_with_its_own_text(tiny: Any) -> None:
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well, "}]
    assert tiny.apply_chat_template(history, add_generation_prompt=False).endswith("Well,")
    assert tiny.apply_chat_template(history[:1]).endswith("[assistant] ")
    assert tiny.chat_template(False) is None
    assert tiny.chat_template(True) == tiny._bundle.section("tokenizer")["chat_template"]
    with pytest.raises(UnsupportedError, match="a bundle has one"):
        tiny.chat_template("tools")


def test_a_template_that_writes_bos_gets_no_second_one(sentencepiece_bundle: Path, backend: str) -> None:
    from skywork_rt.lm_eval import SkyworkLM

    harness = SkyworkLM(str(sentencepiece_bundle), backend=backend, add_bos_token=True)
    bos = harness._generator.model.bos_id
    assert harness.tok_encode("the fox").count(bos) == 1
    assert harness.tok_encode(harness._bos + "the fox").count(bos) == 1
    assert harness.tok_encode("the fox", add_special_tokens=False).count(bos) == 0


def test_what_cannot_be_evaluated_is_refused_by_name(bare_bundle: Path, tmp_path: Path, backend: str) -> None:
    from skywork_rt.lm_eval import SkyworkLM

    with pytest.raises(InvalidArgumentError, match="bundle=DIRECTORY"):
        SkyworkLM()
    with pytest.raises(UnsupportedError, match="no tokenizer"):
        SkyworkLM(str(bare_bundle), backend=backend)
    with pytest.raises(InvalidArgumentError, match="did you mean 'backend'"):
        SkyworkLM(str(bare_bundle), bakcend=backend)


@pytest.mark.slow
def test_lm_evals_own_command_line_finds_the_model(smollm2_bundle: Path, tmp_path: Path) -> None:
    arguments = ",".join(f"{name}={value}" for name, value in model_args(smollm2_bundle, BACKENDS[-1]).items())
    command = [
        sys.executable, "-m", "skywork_rt.lm_eval", "run", "--model", "skywork_rt", "--model_args", arguments,
        "--include_path", str(TASKS), "--tasks", "skywork_facts", "--limit", "3", "--output_path", str(tmp_path),
    ]  # fmt: skip
    outcome = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert "skywork_facts" in outcome.stdout
    (written,) = tmp_path.rglob("results_*.json")
    assert json.loads(written.read_text())["results"]["skywork_facts"]["alias"] == "skywork_facts"
