"""The recipe's six scripts of evaluation, for real: a .ckpt with its tokenizer and YAML, and the graphs made of it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from recipe_model import RecipeModel, write_recipe_model

from bundles import BACKENDS
from skywork_rt.cli.app import run
from skywork_rt.evaluate.tasks import TASKS
from skywork_rt.support import environment
from skywork_rt.support.cache import cache_root

sys.path.insert(0, str(Path(__file__).parents[1] / "eval"))

from question_sets import files_of, write_directory

FULL = "mindir_full_checkpoint/rank_0_graph.mindir"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for these tests alone, with MindSpore Lite out of the user's."""
    folder, own = tmp_path_factory.mktemp("cache"), cache_root() / "lite"
    if own.exists():
        (folder / "lite").symlink_to(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(environment.CACHE.name, str(folder))
        yield folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RecipeModel:
    """With room for five examples."""
    return write_recipe_model(tmp_path_factory.mktemp("model"), length=2048)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A question of each subject of the three tasks, in folders of the tasks' names."""
    folder = tmp_path_factory.mktemp("data")
    for name, task in TASKS.items():
        write_directory(folder / name, files_of(name, {subject.name: 1 for subject in task.subjects}))
    return folder


@pytest.fixture(scope="module")
def native_rows(cache: Path, model: RecipeModel, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of evaluate_ceval, evaluate_mmlu and evaluate_cmmlu, by their lines in the recipe."""
    out = tmp_path_factory.mktemp("native")
    for name in TASKS:
        words = ["-d", str(data / name), *described(model, "-c", "-t"), "--device_id", "0", "--out", str(out / name)]
        assert run(["recipe", f"../evaluate/{name}/evaluate_{name}.py", *words]) == 0
    return out


@pytest.fixture(scope="module")
def graphs(cache: Path, model: RecipeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full graph alone, as run_skywork.py exports it: scoring needs no other."""
    if "lite" not in BACKENDS:
        pytest.skip("SKYWORK_RT_TEST_BACKENDS leaves out lite")
    out = tmp_path_factory.mktemp("graphs")
    words = ["--config", str(model.config), "--load_checkpoint", str(model.checkpoint), "--run_mode=export"]
    assert run(["recipe", "run_skywork.py", *words, "--use_past", "False", "--output_dir", str(out)]) == 0
    return out


def described(model: RecipeModel, checkpoint: str, tokenizer: str) -> list[str]:
    return [checkpoint, str(model.checkpoint), tokenizer, str(model.tokenizer), "--config", str(model.config)]


def assert_same(found: Path, expected: Path, subjects: Sequence[str], tolerance: float) -> None:
    """Rows that tell the same questions, examples and log-probabilities."""
    for subject in subjects:
        ours, theirs = (rows(folder / f"{subject}.csv") for folder in (found, expected))
        assert len(ours) == len(theirs) == 1
        for name in ("id", "answer", "shots"):
            assert ours[0][name] == theirs[0][name]
        numbers = [[float(row[0][f"logprob_{letter}"]) for letter in "ABCD"] for row in (ours, theirs)]
        assert numbers[0] == pytest.approx(numbers[1], abs=tolerance)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", TASKS)
def test_the_scripts_on_a_checkpoint(task: str, native_rows: Path, cache: Path) -> None:
    summary = json.loads((native_rows / task / "summary.json").read_text(encoding="utf-8"))
    assert summary["average"]["questions"] == len(TASKS[task].subjects)
    assert not summary["unanswerable"] and not summary["prompts_that_lost_examples"]
    exported = list((cache / "compat").glob("*/model.json"))
    assert len(exported) == 1, "the three scripts share what was exported once"


@pytest.mark.parametrize("task", TASKS)
def test_their_lite_twins_on_the_exported_graph(
    task: str, graphs: Path, native_rows: Path, model: RecipeModel, data: Path, tmp_path: Path
) -> None:
    words = ["-d", str(data / task), "--config_path", "context.cfg", "--token_path", str(model.tokenizer)]
    words += ["--full_model_path", str(graphs / FULL), "--device_id", "6", "--out", str(tmp_path / "out")]
    few = [subject.name for subject in TASKS[task].subjects[:3]]  # the full graph alone takes a while
    assert run(["recipe", f"evaluate_{task}_lite.py", *words, "--subjects", ",".join(few)]) == 0
    assert_same(tmp_path / "out", native_rows / task, few, 1e-3)


def test_a_checkpoint_on_mindspore_and_on_lite(
    native_rows: Path, model: RecipeModel, data: Path, tmp_path: Path
) -> None:
    asked = ["-d", str(data / "ceval"), "--subjects", "law, logic"]
    words = [*asked, *described(model, "-c", "-t"), "--backend", "mindspore", "-o", str(tmp_path / "mindspore")]
    assert run(["recipe", "evaluate_ceval", *words]) == 0
    assert_same(tmp_path / "mindspore", native_rows / "ceval", ["law", "logic"], 1e-3)
    if "lite" in BACKENDS:
        words = [*asked, *described(model, "--full_model_path", "--token_path"), "--out", str(tmp_path / "lite")]
        assert run(["recipe", "evaluate_ceval_lite", *words]) == 0
        assert_same(tmp_path / "lite", native_rows / "ceval", ["law", "logic"], 1e-3)
        settings = json.loads((tmp_path / "lite" / "settings.json").read_text(encoding="utf-8"))
        assert settings["scorer"]["backend"] == "lite"


def test_what_a_message_of_the_command_names_the_script_takes(
    cache: Path, model: RecipeModel, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recipe", "evaluate_mmlu", "-d", str(data / "mmlu"), *described(model, "-c", "-t"), "--limit", "1"]
    words += ["--subjects", "anatomy", "-o", str(tmp_path / "out"), "--shots"]
    assert run([*words, "1"]) == 0
    assert run([*words, "2"]) == 2
    assert "with -o, or replace them with --fresh" in capsys.readouterr().err
    assert run([*words, "2", "--fresh"]) == 0
    assert rows(tmp_path / "out" / "anatomy.csv")[0]["shots"] == "2"


def test_what_is_wrong_is_told_before_anything_is_exported(
    model: RecipeModel, data: Path, own_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, ceval = described(model, "-c", "-t"), str(data / "ceval")
    theirs = tmp_path / "rank_0_graph.mindir"
    theirs.write_bytes(b"\x0a\x05graph")
    for words, message in (
        (["evaluate_ceval", "-d", "nowhere", *given], "nowhere does not exist"),
        (["evaluate_ceval", "-d", str(data / "cmmlu"), *given], "has no file of C-Eval"),
        (["evaluate_ceval", "-d", ceval, *given, "--subjects", "lore"], "has no subject 'lore'"),
        (["evaluate_ceval", "-d", ceval, *given, "-t", "no.model"], "the tokenizer no.model does not exist"),
        (["evaluate_ceval", "-d", ceval, *given, "-c", "no.ckpt"], "the checkpoint no.ckpt does not exist"),
        (["evaluate_ceval", "-d", ceval, *given, "--config", "no.yaml"], "--config no.yaml does not exist"),
        (["evaluate_ceval_lite", "-d", ceval, "--full_model_path", "no.mindir"], "is no.mindir, which is no file"),
        (["evaluate_ceval_lite", "-d", ceval, "--full_model_path", str(theirs)], "MindFormers' own contract"),
    ):
        assert run(["recipe", *words]) == 2 or "contract" in message
        told = capsys.readouterr().err
        assert message in told and "Traceback" not in told, told
    assert not own_cache.exists() or not list(own_cache.rglob("model.json"))


def test_the_incremental_graph_is_refused(layout: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    incremental = layout / FULL.replace("_full_", "_inc_")
    assert run(["recipe", "evaluate_mmlu_lite", "-d", str(data / "mmlu"), "--full_model_path", str(incremental)]) == 2
    assert "are the two paths exchanged?" in capsys.readouterr().err
