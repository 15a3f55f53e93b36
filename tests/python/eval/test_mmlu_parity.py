"""200 questions of MMLU are answered, and a text's perplexity is measured, as by transformers (tests/golden)."""

from __future__ import annotations

import csv
import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from mmlu_questions import SUBJECTS, running_text, write_files
from question_sets import write_tar

from cores import ONE_CORE
from golden import GOLDEN
from skywork_rt import Generator
from skywork_rt.checkpoints.samples import mmlu_questions
from skywork_rt.cli.app import run
from skywork_rt.evaluate.perplexity import measure_perplexity

EXPECTED: dict[str, Any] = json.loads((GOLDEN / "mmlu_choices.json").read_text(encoding="utf-8"))
TOLERANCE = 2e-3
"""Of a log-probability: what sums of float32 in another order come to over hundreds of tokens."""


def few_shot_prompts() -> Path:
    found = find_spec("lm_eval")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "tasks" / "mmlu" / "flan_cot_fewshot" / "_cot_prompts.json"


@pytest.mark.slow
@pytest.mark.parametrize("limit", [12, pytest.param(50, marks=pytest.mark.long)])
def test_choices_are_those_of_transformers(
    smollm2_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: int
) -> None:
    """Through the command, from a tar as MMLU's is. The first 12 of each subject have every kind of question: a wrong
    prompt or logit shows in all log-probabilities of its subject."""
    folder = write_files(tmp_path / "files", mmlu_questions(), few_shot_prompts())
    names = [path.relative_to(folder) for path in folder.rglob("*.csv")]
    data = write_tar(tmp_path / "data.tar", {f"data/{name}": (folder / name).read_bytes() for name in names})
    arguments = ["eval", "mmlu", str(smollm2_bundle), "-d", str(data), "-o", str(tmp_path / "out")]
    options = ["--subjects", ",".join(SUBJECTS), "--backend", "native", "--weights", "int4", "--max-length", "2048"]
    options += ["--limit", str(limit), *(f"--{name}={value}" for name, value in ONE_CORE.items())]
    assert run([*arguments, *options]) == 0, capsys.readouterr().err
    compared = 0
    for subject in SUBJECTS:
        with (tmp_path / "out" / f"{subject}.csv").open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
        for row, wanted in zip(found, EXPECTED["logprobs"][subject][:limit], strict=True):
            assert row["shots"] == "5"
            assert [float(row[f"logprob_{letter}"]) for letter in "ABCD"] == pytest.approx(wanted, abs=TOLERANCE)
            assert row["predicted"] == "ABCD"[wanted.index(max(wanted))]
            compared += 1
    assert compared == 4 * limit


@pytest.mark.slow
def test_perplexity_is_that_of_transformers_windows(smollm2_bundle: Path, tmp_path: Path) -> None:
    """The sums over every token once. The guide's own number weights windows otherwise, and lies within 0.2 %."""
    text = running_text(mmlu_questions())
    file = tmp_path / "text.txt"
    file.write_text(text, encoding="utf-8")
    with Generator(smollm2_bundle, backend="native", weights="int4", **ONE_CORE) as generator:
        for wanted in EXPECTED["perplexity"]:
            found = measure_perplexity(generator, file, window=wanted["window"], stride=wanted["stride"])
            assert found.tokens == wanted["tokens"]
            assert found.nll == pytest.approx(wanted["nll"], rel=1e-5)
            assert found.per_token == pytest.approx(math.exp(wanted["nll"] / wanted["tokens"]), rel=1e-4)
            assert found.per_token == pytest.approx(wanted["guide"], rel=2e-3)
        assert found.bits_per_byte == pytest.approx(found.nll / found.bytes / math.log(2))
