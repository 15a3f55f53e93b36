"""`skywork-rt eval --url` against a real server of ours writes the rows of the model's own evaluation."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from serving import Serving

from skywork_rt.cli.app import run

sys.path.insert(0, str(Path(__file__).parents[1] / "eval"))

from question_sets import files_of, write_directory

COUNTS = {
    "ceval": {"law": 3, "college_physics": 2},
    "mmlu": {"anatomy": 4, "marketing": 2},
    "cmmlu": {"arts": 3, "logical": 2},
}


@pytest.mark.parametrize("task", COUNTS)
def test_rows_are_those_of_the_model(
    task: str,
    endless_server: Serving,
    endless_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = write_directory(tmp_path / "data", files_of(task, COUNTS[task]))
    asked = ["eval", task, "-d", str(data), "--subjects", ",".join(COUNTS[task]), "--shots", "2"]
    before = endless_server.gauge("request_success_total")
    assert run([*asked, "--url", endless_server.url, "-o", str(tmp_path / "served")]) == 0
    told = capsys.readouterr().out
    assert "the server's route /tokenize" in told and "lacked a letter" not in told
    questions = sum(COUNTS[task].values())
    assert endless_server.gauge("request_success_total") - before == questions, "a question is one request"
    assert run([*asked, str(endless_bundle), "--backend", "native", "-o", str(tmp_path / "own")]) == 0
    for subject in COUNTS[task]:
        own, served = (tmp_path / folder / f"{subject}.csv" for folder in ("own", "served"))
        assert served.read_bytes() == own.read_bytes(), "to the last bit"
    summaries = [json.loads((tmp_path / folder / "summary.json").read_text()) for folder in ("own", "served")]
    assert summaries[0]["average"] == summaries[1]["average"] and summaries[1]["average"]["questions"] == questions


def test_prompts_that_are_too_long_lose_as_many_examples(
    tiny_server: Serving, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the server's own words are all that is known of its length."""
    files = files_of("mmlu", {"anatomy": 8})
    for number in range(1, 61):  # questions of every length around what there is room for
        files["test/anatomy_test.csv"] += f"{'abc ' * number},1,2,3,4,A\n".encode()
    data = write_directory(tmp_path / "data", files)
    asked = ["eval", "mmlu", "-d", str(data), "--subjects", "anatomy", "--shots", "1"]
    assert run([*asked, "--url", tiny_server.url, "-o", str(tmp_path / "served")]) == 0
    assert run([*asked, str(tiny_bundle), "--backend", "native", "-o", str(tmp_path / "own")]) == 0
    own, served = ((tmp_path / folder / "anatomy.csv").read_bytes() for folder in ("own", "served"))
    assert served.replace(b",unknown", b",") == own
    assert {row.split(b",")[-2] for row in own.splitlines()[1:]} == {b"0", b"1"}, "or the test shows nothing"
    assert "were too long and lost 1 of their 1 examples" in capsys.readouterr().out
