"""Whole evaluations on tiny models: results, resuming, too-long prompts, every backend."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from question_sets import files_of, write_directory, write_tar, write_zip
from tokenizers.models import WordLevel

from bundles import full_graph_bundle
from skywork_rt import Generator, InvalidArgumentError
from skywork_rt._core import Vocabulary
from skywork_rt.bundle.info import BundleInfo
from skywork_rt.cli.app import run
from skywork_rt.evaluate.model_scorer import ModelScorer, choice_ids
from skywork_rt.evaluate.prompts import PromptParts, prompts_of
from skywork_rt.evaluate.questions import SubjectData, read_task
from skywork_rt.evaluate.results import ResultsDirectory
from skywork_rt.evaluate.run import evaluate, settings_of
from skywork_rt.evaluate.scorer import Scored, best_choice
from skywork_rt.evaluate.summary import Summary
from skywork_rt.evaluate.tasks import TASKS
from skywork_rt.text.tokenizer import load_tokenizer, make_tokenizer

COUNTS = {
    "ceval": {"law": 6, "college_physics": 5, "civil_servant": 4},
    "mmlu": {"anatomy": 6, "marketing": 3, "sociology": 2},
    "cmmlu": {"arts": 6, "chinese_history": 5, "logical": 4},
}


def read(kind: str, path: Path, *, shots: int = 5, limit: int | None = None) -> list[SubjectData]:
    task = TASKS[kind]
    return read_task(task, path, task.chosen(list(COUNTS[kind])), task.layout.default_split, shots, limit)


def run_task(kind: str, data: list[SubjectData], scorer: Any, out: Path, *, shots: int = 5) -> Summary:
    task = TASKS[kind]
    settings = settings_of(task, data, scorer, task.layout.default_split, shots, None)
    with ResultsDirectory(out, settings, fresh=False) as directory:
        return evaluate(task, data, scorer, directory, settings)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def opened(endless_bundle: Path, backend: str) -> Iterator[Generator]:
    with Generator(endless_bundle, backend=backend, max_length=4096, max_batch=4) as generator:
        yield generator


@pytest.mark.parametrize("kind", COUNTS)
def test_results_are_those_of_single_forward_passes(kind: str, opened: Generator, tmp_path: Path) -> None:
    """Against `score` of each letter's id, asked one by one with nothing shared."""
    data = read(kind, write_directory(tmp_path / "data", files_of(kind, COUNTS[kind])))
    summary = run_task(kind, data, ModelScorer(opened, {}), tmp_path / "out")
    ids = [opened.encode(letter, add_special_tokens=False)[-1] for letter in "ABCD"]
    right, shares = 0, []
    for entry in data:
        found = rows(tmp_path / "out" / f"{entry.subject.name}.csv")
        before = right
        for question, parts, row in zip(entry.questions, prompts_of(TASKS[kind], entry), found, strict=True):
            context = opened.encode(parts.text(5))
            scores = [opened.score(context, [token]).logprob for token in ids]
            assert [float(row[f"logprob_{letter}"]) for letter in "ABCD"] == pytest.approx(scores, abs=2e-4)
            predicted = "ABCD"[scores.index(max(scores))]
            assert (row["predicted"], row["answer"], row["shots"]) == (predicted, question.answer, "5")
            assert row["right"] == str(int(predicted == question.answer))
            right += predicted == question.answer
        shares.append((right - before) / len(found))
    expected = right / sum(COUNTS[kind].values()) if kind == "mmlu" else sum(shares) / len(shares)
    assert summary.average.accuracy.value == pytest.approx(expected, abs=1e-12)
    written = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert written["average"]["accuracy"]["value"] == summary.average.accuracy.value
    assert written["published"]["accuracy"] == pytest.approx({"ceval": 0.6061, "mmlu": 0.6213, "cmmlu": 0.6183}[kind])
    assert {group["name"] for group in written["categories"]} == {
        name for entry in data for name in entry.subject.categories
    }


def test_examples_of_a_subject_are_computed_once(opened: Generator, backend: str, tmp_path: Path) -> None:
    data = read("ceval", write_directory(tmp_path / "data", files_of("ceval", {**COUNTS["ceval"], "law": 40})))
    law = next(entry for entry in data if entry.subject.name == "law")
    before = opened.stats()
    list(ModelScorer(opened, {}).score(prompts_of(TASKS["ceval"], law)))
    after = opened.stats()
    computed = (after["prompt_tokens"] - before["prompt_tokens"]) - (
        after["prefix_hit_tokens"] - before["prefix_hit_tokens"]
    )
    parts = list(prompts_of(TASKS["ceval"], law))
    shared = len(opened.encode(parts[0].text(5))) - len(opened.encode(parts[0].text(0), add_special_tokens=False))
    alone = sum(len(opened.encode(part.text(0))) for part in parts)
    # On native the examples once; lite has rows: each of the four that run at once may have to compute them.
    assert computed < alone + (2 if backend == "native" else 6) * shared


def test_prompts_that_are_too_long_lose_examples_and_never_the_question(endless_bundle: Path, tmp_path: Path) -> None:
    files = files_of("mmlu", COUNTS["mmlu"])
    long = "The words of this question go on and on without an end. " * 40
    files["test/anatomy_test.csv"] += f'"{long}",1,2,3,4,A\n'.encode()
    files["test/marketing_test.csv"] += f'"{long[:600]}",1,2,3,4,A\n'.encode()
    data = read("mmlu", write_directory(tmp_path / "data", files))
    with Generator(endless_bundle, backend="native", max_length=500) as generator:
        summary = run_task("mmlu", data, ModelScorer(generator, {}), tmp_path / "out")
        last = rows(tmp_path / "out" / "marketing.csv")[-1]
        entry = next(entry for entry in data if entry.subject.name == "marketing")
        *_, parts = prompts_of(TASKS["mmlu"], entry)
        kept = int(last["shots"])
        assert 0 <= kept < 5
        assert len(generator.encode(parts.text(kept))) <= 499 < len(generator.encode(parts.text(kept + 1)))
        assert parts.text(kept).startswith(
            "The following are multiple choice questions (with answers) about marketing."
        )
        assert parts.text(kept).endswith(parts.question)
        ids = generator.encode(parts.text(kept))
        assert float(last["logprob_A"]) == pytest.approx(
            generator.score(ids, generator.encode("A")[-1:]).logprob, abs=1e-4
        )
    assert summary.unanswerable == ["anatomy/6"]
    assert sum(summary.lost_examples.values()) >= 1 and all(1 <= lost <= 5 for lost in summary.lost_examples)
    assert rows(tmp_path / "out" / "anatomy.csv")[6]["predicted"] == ""
    remarks = " ".join(summary.remarks())
    assert "1 questions could not be answered, and count as wrong: anatomy/6" in remarks
    assert "prompts were too long and lost" in remarks


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "skywork_rt", "eval", *map(str, arguments)]


@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    counts = {"anatomy": 300, "marketing": 1500, "sociology": 40}
    data = write_tar(tmp_path / "data.tar", files_of("mmlu", counts))
    arguments = ["mmlu", tiny_bundle, "-d", data, "--subjects", ",".join(counts), "--shots", 0, "--backend", "native"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command(*arguments, "-o", whole), capture_output=True, text=True, env=environment, check=True)
    process = subprocess.Popen(
        command(*arguments, "-o", killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    partial = killed / "marketing.csv.partial"
    deadline = time.monotonic() + 120
    while not partial.exists() or partial.stat().st_size < 20_000:
        assert process.poll() is None and time.monotonic() < deadline, "it was to be killed while it runs"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sorted(path.name for path in killed.iterdir()) == [
        ".lock", "anatomy.csv", "marketing.csv.partial", "settings.json"
    ]  # fmt: skip
    with partial.open("ab") as file:
        file.write(b"999,A,B")  # a line that was cut off
    begun = partial.stat().st_size
    again = subprocess.run(
        command(*arguments, "-o", killed), capture_output=True, text=True, env=environment, check=True
    )
    assert again.stdout.replace(str(killed), str(whole)) == done.stdout
    assert begun < (killed / "marketing.csv").stat().st_size
    for path in whole.iterdir():
        assert (killed / path.name).read_bytes() == path.read_bytes(), path.name
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())


class Counting:
    """A scorer that says how many questions it was asked, and gives out when it has had `most`."""

    def __init__(self, name: str = "counting", most: int = 10**9) -> None:
        self.name = name
        self.asked = 0
        self._most = most

    def identity(self) -> dict[str, Any]:
        return {"model": self.name}

    def notes(self, results: Any) -> list[str]:
        return []

    def score(self, prompts: Any) -> Iterator[Scored]:
        for parts in prompts:
            if self.asked == self._most:
                raise KeyboardInterrupt
            self.asked += 1
            length = len(parts.question)
            yield Scored((-1.0, -1.0 - length % 3, -2.5, -0.1 * (length % 11)), len(parts.examples))


def test_only_what_is_not_answered_is_asked_again(tmp_path: Path) -> None:
    data = read("cmmlu", write_directory(tmp_path / "data", files_of("cmmlu", COUNTS["cmmlu"])))
    out = tmp_path / "out"
    first = Counting(most=8)
    with pytest.raises(KeyboardInterrupt):
        run_task("cmmlu", data, first, out)
    second, third = Counting(), Counting()
    summary = run_task("cmmlu", data, second, out)
    assert (first.asked, second.asked) == (8, 15 - 8)
    assert run_task("cmmlu", data, third, out) == summary and third.asked == 0
    assert run_task("cmmlu", data, Counting(), tmp_path / "other") == summary


def test_a_changed_setting_is_refused_with_the_fix(tmp_path: Path) -> None:
    files = files_of("cmmlu", COUNTS["cmmlu"])
    data = read("cmmlu", write_directory(tmp_path / "data", files))
    out = tmp_path / "out"
    run_task("cmmlu", data, Counting(), out)
    with pytest.raises(InvalidArgumentError, match=r"scorer was .*other settings|other settings.*scorer was.*--fresh"):
        run_task("cmmlu", data, Counting("another model"), out)
    with pytest.raises(InvalidArgumentError, match="shots was 5, is 4"):
        run_task("cmmlu", read("cmmlu", tmp_path / "data", shots=4), Counting(), out, shots=4)
    files["test/arts.csv"] = files["test/arts.csv"].replace(b"H2O", b"H3O", 1)
    changed = read("cmmlu", write_directory(tmp_path / "changed", files))
    with pytest.raises(InvalidArgumentError, match="data was"):
        run_task("cmmlu", changed, Counting(), out)
    settings = settings_of(TASKS["cmmlu"], changed, Counting(), "test", 5, None)
    with ResultsDirectory(out, settings, fresh=True) as directory:
        evaluate(TASKS["cmmlu"], changed, Counting(), directory, settings)
        with pytest.raises(InvalidArgumentError, match="another evaluation is writing"):
            ResultsDirectory(out, settings, fresh=True).__enter__()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mother.txt").write_text("dear")
    with pytest.raises(InvalidArgumentError, match=r"'mother\.txt' in it and no evaluation"):
        ResultsDirectory(tmp_path / "letters", settings, fresh=True).__enter__()
    (out / "arts.csv").write_bytes((out / "arts.csv").read_bytes()[:-30])
    with pytest.raises(InvalidArgumentError, match=r"arts\.csv has 5 sound lines for 6 questions"):
        run_task("cmmlu", changed, Counting(), out)


def test_the_letters_ids_are_the_last_of_each_by_itself(tiny_bundle: Path, sentencepiece_bundle: Path) -> None:
    for bundle, wanted in ((tiny_bundle, [35, 36, 37, 38]), (sentencepiece_bundle, [68, 69, 70, 71])):
        tokenizer = load_tokenizer(BundleInfo.open(bundle))
        assert tokenizer is not None
        assert choice_ids(tokenizer, 512) == wanted
        with pytest.raises(InvalidArgumentError, match="gives B the id"):
            choice_ids(tokenizer, wanted[1])
    unknown = WordLevel({"C": 1, "D": 2, "?": 0}, unk_token="?")
    data = tokenizers.Tokenizer(unknown).to_str().encode()
    vocabulary = Vocabulary(str(tiny_bundle / "vocab.bin"))
    with pytest.raises(InvalidArgumentError, match="gives A and B the same id 0"):
        choice_ids(make_tokenizer({"kind": "tokenizers"}, data, vocabulary, None), 512)


def test_the_likeliest_letter_is_the_first_among_equals() -> None:
    assert best_choice(Scored((-2.0, -1.0, -1.0, None), 5)) == "B"
    assert best_choice(Scored((None, None, -9.0, None), 5)) == "C"
    assert best_choice(Scored((None, None, None, None), 0)) is None


def test_the_command_line_evaluates_a_zip(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_zip(tmp_path / "cmmlu_v1_0_1.zip", files_of("cmmlu", COUNTS["cmmlu"]))
    arguments = [
        "eval", "cmmlu", str(tiny_bundle), "-d", str(data), "-o", str(tmp_path / "out"), "--backend", "native",
        "--subjects", "arts,logical", "--limit", "3", "--shots", "1", "--batch", "2", "--max-queue", "1",
    ]  # fmt: skip
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "61.83" in out and "logical" in out and "Skywork-13B-Base" in out and "This was a part of the task" in out
    assert len(rows(tmp_path / "out" / "arts.csv")) == 3
    assert run([*arguments, "--max-batch", "3"]) == 2
    assert "--max-batch is given twice" in capsys.readouterr().err
    assert run([*arguments[:-2], "--shots", "2"]) == 2
    assert "shots was 1, is 2" in capsys.readouterr().err
    assert run([*arguments, "--shots", "2", "--fresh"]) == 0

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ModelScorer, "_answer", interrupted)
    assert run([*arguments, "--shots", "3", "--fresh"]) == 130
    told = capsys.readouterr().err
    assert f"what was answered is kept in {tmp_path / 'out'}: the same command goes on\ninterrupted" in told


@pytest.mark.slow
@pytest.mark.skipif("lite" not in os.environ.get("SKYWORK_RT_TEST_BACKENDS", "lite"), reason="needs lite")
def test_a_full_graph_alone_suffices(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundle has no tokenizer: the tiny model's, which has as many tokens, stands in."""
    data = write_directory(tmp_path / "data", files_of("mmlu", COUNTS["mmlu"]))
    arguments = ["eval", "mmlu", str(full_graph_bundle()), "-d", str(data), "-o", str(tmp_path / "out"), "--shots", "0"]
    options = ["--subjects", ",".join(COUNTS["mmlu"]), "--backend", "lite", "--max-batch", "2"]
    assert run([*arguments, *options]) == 1
    assert "has no tokenizer: name one with --tokenizer" in capsys.readouterr().err
    assert run([*arguments, *options, "--tokenizer", str(tiny_bundle / "tokenizer.json")]) == 0
    tokenizer = load_tokenizer(BundleInfo.open(tiny_bundle))
    assert tokenizer is not None
    row = rows(tmp_path / "out" / "anatomy.csv")[0]
    anatomy = next(entry for entry in read("mmlu", data, shots=0) if entry.subject.name == "anatomy")
    ids = tokenizer.encode(next(prompts_of(TASKS["mmlu"], anatomy)).text(0), add_special_tokens=False)
    with Generator(full_graph_bundle(), backend="lite", max_batch=2) as generator:
        found = [
            generator.score(begin + ids, tokenizer.encode("A", add_special_tokens=False)).logprob for begin in ([], [1])
        ]
    assert any(float(row["logprob_A"]) == pytest.approx(value, abs=2e-4) for value in found)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["average"]["questions"] == 11 and not summary["unanswerable"]


@pytest.mark.slow
def test_the_backend_mindspore_answers_as_native(tiny_bundle: Path, tmp_path: Path) -> None:
    data = read("mmlu", write_directory(tmp_path / "data", files_of("mmlu", {**COUNTS["mmlu"], "anatomy": 3})), shots=0)
    found = []
    for options in ({"backend": "native", "weights": "f32"}, {"backend": "mindspore", "weights": "f32"}):
        with Generator(tiny_bundle, max_batch=2, **options) as generator:
            scorer = ModelScorer(generator, {})
            found.append([scored for entry in data for scored in scorer.score(prompts_of(TASKS["mmlu"], entry))])
    for ours, theirs in zip(*found, strict=True):
        assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-3)


def endless_prompts(count: int) -> Iterator[PromptParts]:
    examples = ["Question: one and one?\nAnswer: A\n\n"] * 2
    return (PromptParts("", examples, f"Question: {number} and one?\nAnswer:") for number in range(count))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_memory_does_not_grow_over_20000_questions(tiny_bundle: Path) -> None:
    with Generator(tiny_bundle, backend="native") as generator:
        scorer = ModelScorer(generator, {})
        sizes = []
        for number, scored in enumerate(scorer.score(endless_prompts(20_000)), 1):
            assert scored.shots == 2
            if number in (2_000, 20_000):
                sizes.append(resident())
        assert generator.stats()["finished"] == 20_000
    assert sizes[1] - sizes[0] < 8 << 20, sizes
