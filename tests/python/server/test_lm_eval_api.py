"""lm-eval's own API models on a server give the numbers of our model class, with no tokenizer of their own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from serving import Serving, serving

TASKS = Path(__file__).parents[1] / "eval" / "tasks"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`datasets` neither asks the network nor writes into the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        yield


@pytest.fixture(scope="module")
def server(smollm2_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    options = ("--weights", "int4", "--max-length", "1024")
    with serving(tmp_path_factory.mktemp("lm-eval"), f"smol={smollm2_bundle}", *options) as opened:
        yield opened


@pytest.fixture(scope="module")
def ours(smollm2_bundle: Path) -> Any:
    import skywork_rt.lm_eval

    return skywork_rt.lm_eval.SkyworkLM(
        str(smollm2_bundle), backend="native", weights="int4", max_length=1024, threads=1
    )


@cache
def tasks() -> Any:
    """Ours alone: to read all of lm-eval's takes seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(TASKS), include_defaults=False)


def evaluate(model: Any, task: str, **options: Any) -> dict[str, Any]:
    from lm_eval import simple_evaluate

    logging.disable(logging.WARNING)
    found = simple_evaluate(
        model=model, tasks=[task], task_manager=tasks(), log_samples=True, bootstrap_iters=0, limit=2, **options
    )
    assert found is not None
    return dict(found)


def answers(results: dict[str, Any], task: str) -> list[Any]:
    return [sample["filtered_resps"] for sample in sorted(results["samples"][task], key=lambda s: int(s["doc_id"]))]


def scores(results: dict[str, Any], task: str) -> dict[str, float]:
    return {name: value for name, value in results["results"][task].items() if isinstance(value, float)}


def over_api(server: Serving, kind: str, path: str, **arguments: Any) -> Any:
    from lm_eval.api.registry import get_model

    given = {"base_url": server.url + path, "model": "smol", "max_length": 1024, **arguments}
    return get_model(kind).create_from_arg_obj(given, {"batch_size": 4 if "chat" not in kind else 1})


def test_choices_score_as_with_our_model_class(server: Serving, ours: Any) -> None:
    model = over_api(server, "local-completions", "/v1/completions", num_concurrent=4)
    assert model.tokenizer_backend == "remote"
    found, wanted = (evaluate(each, "skywork_facts") for each in (model, ours))
    for document, expected in zip(answers(found, "skywork_facts"), answers(wanted, "skywork_facts"), strict=True):
        assert [float(value) for value, _ in document] == pytest.approx([float(v) for v, _ in expected], rel=1e-6)
        assert [str(greedy) for _, greedy in document] == [str(greedy) for _, greedy in expected]
    assert scores(found, "skywork_facts") == scores(wanted, "skywork_facts")


def test_running_text_scores_as_with_our_model_class(server: Serving, ours: Any) -> None:
    model = over_api(server, "local-completions", "/v1/completions")
    found, wanted = (evaluate(each, "skywork_sentences") for each in (model, ours))
    assert scores(found, "skywork_sentences") == pytest.approx(scores(wanted, "skywork_sentences"), rel=1e-6)


def test_free_answers_are_those_of_our_model_class(server: Serving, ours: Any) -> None:
    model = over_api(server, "local-completions", "/v1/completions")
    found, wanted = (evaluate(each, "skywork_answers") for each in (model, ours))
    assert answers(found, "skywork_answers") == answers(wanted, "skywork_answers")
    assert scores(found, "skywork_answers") == scores(wanted, "skywork_answers")


def test_free_answers_of_a_chat_are_those_of_our_model_class(server: Serving, ours: Any) -> None:
    model = over_api(server, "local-chat-completions", "/v1/chat/completions")
    found, wanted = (evaluate(each, "skywork_answers", apply_chat_template=True) for each in (model, ours))
    assert answers(found, "skywork_answers") == answers(wanted, "skywork_answers")
