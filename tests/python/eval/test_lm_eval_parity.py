"""skywork-rt eval gives lm-eval's own evaluator's numbers: per subject and for all, on tasks with the recipe's prompts.

lm-eval reads the same files through its own CSV reader, builds the prompts by its own few-shot sampler, and scores the
four letters as continuations through our model class.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from question_sets import files_of, write_directory

from skywork_rt.evaluate.model_scorer import ModelScorer
from skywork_rt.evaluate.questions import read_task
from skywork_rt.evaluate.results import ResultsDirectory
from skywork_rt.evaluate.run import evaluate, settings_of
from skywork_rt.evaluate.tasks import TASKS

RECIPE = Path(__file__).parent / "tasks" / "recipe"
COUNTS = {
    "ceval": {"law": 13, "college_physics": 7, "civil_servant": 5},
    "mmlu": {"anatomy": 13, "marketing": 7, "us_foreign_policy": 5},
    "cmmlu": {"arts": 13, "chinese_history": 7, "logical": 5},
}


@pytest.fixture(scope="module")
def model(endless_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        from skywork_rt.lm_eval import SkyworkLM

        yield SkyworkLM(str(endless_bundle), backend="native", weights="f32", max_length=4096)


def write_tasks(kind: str, data: Path, folder: Path) -> Path:
    folder.mkdir()
    titles = {subject.name: subject.title for subject in TASKS[kind].subjects}
    template = (RECIPE / f"{kind}.yaml").read_text(encoding="utf-8")
    for subject in COUNTS[kind]:
        text = template.replace("SUBJECT", subject).replace("TITLE", titles[subject]).replace("DATA", str(data))
        (folder / f"{subject}.yaml").write_text(text, encoding="utf-8")
    names = "".join(f"  - recipe_{kind}_{subject}\n" for subject in COUNTS[kind])
    weighted = str(TASKS[kind].average == "questions").lower()
    (folder / "all.yaml").write_text(
        f"group: recipe_{kind}\ntask:\n{names}aggregate_metric_list:\n  - metric: acc\n    weight_by_size: {weighted}\n"
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_accuracies_are_those_of_lm_evals_evaluator(kind: str, model: Any, tmp_path: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    data = write_directory(tmp_path / "data", files_of(kind, COUNTS[kind]))
    tasks = TaskManager(include_path=str(write_tasks(kind, data, tmp_path / "tasks")), include_defaults=False)
    theirs = simple_evaluate(
        model=model, tasks=[f"recipe_{kind}"], task_manager=tasks, bootstrap_iters=0, log_samples=True
    )
    assert theirs is not None
    task = TASKS[kind]
    read = read_task(task, data, task.chosen(list(COUNTS[kind])), task.layout.default_split, 5, None)
    scorer = ModelScorer(model._generator, {})
    settings = settings_of(task, read, scorer, task.layout.default_split, 5, None)
    with ResultsDirectory(tmp_path / "out", settings, fresh=False) as directory:
        ours = evaluate(task, read, scorer, directory, settings)
        results = {entry.subject.name: directory.subject(entry).results for entry in read}
    assert len({group.right for group in ours.subjects}) > 1, "not all the same"
    for group in ours.subjects:
        assert group.accuracy.value == theirs["results"][f"recipe_{kind}_{group.name}"]["acc,none"]
        samples = sorted(theirs["samples"][f"recipe_{kind}_{group.name}"], key=lambda sample: int(sample["doc_id"]))
        for scored, sample in zip(results[group.name], samples, strict=True):
            logprobs = [float(response[0]) for response in sample["filtered_resps"]]
            assert scored.logprobs == pytest.approx(logprobs, abs=1e-4)
    assert ours.average.accuracy.value == pytest.approx(theirs["results"][f"recipe_{kind}"]["acc,none"], abs=1e-12)
