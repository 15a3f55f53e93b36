"""skywork-rt bench eval: rows of questions a second, and a peer that cannot be measured is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from skywork_rt.bench.rows import check_document
from skywork_rt.cli.app import run


@pytest.fixture
def arguments(tiny_bundle: Path, tmp_path: Path) -> list[str]:
    for split, count in (("dev", 2), ("test", 6)):
        (tmp_path / split).mkdir()
        lines = [f"What is {number} + 1?,1,2,3,4,{'ABCD'[number % 4]}\n" for number in range(count)]
        (tmp_path / split / f"anatomy_{split}.csv").write_text("".join(lines))
    chosen = ["--subjects", "anatomy", "--shots", "1", "--runtime", "skywork_rt:native int8/f32"]
    return ["bench", "eval", str(tiny_bundle), "-d", str(tmp_path), *chosen]


@pytest.mark.slow
def test_a_row_has_questions_a_second(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "--repeat", "2", "--limit", "4", "--json", str(tmp_path / "rows.json")]) == 0
    (row,) = check_document(json.loads((tmp_path / "rows.json").read_text()))
    assert (row.runtime, row.metric, row.unit) == ("skywork_rt:native", "eval_questions", "questions/s")
    assert 0 < row.min <= row.max
    assert "eval_questions" in capsys.readouterr().out


@pytest.mark.slow
def test_a_peer_that_cannot_run_is_told(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--peer-python", sys.executable]) == 2
    assert "--peer-python and --peer-model go together" in capsys.readouterr().err
    assert run([*arguments, "--peer-python", "/nowhere/python", "--peer-model", str(tmp_path)]) == 1
    assert "/nowhere/python does not start" in capsys.readouterr().err
    assert run([*arguments, "--peer-python", sys.executable, "--peer-model", str(tmp_path)]) == 1
    assert "torch" in capsys.readouterr().err
