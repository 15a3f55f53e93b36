"""200 real questions of MMLU with real few-shot examples, and MMLU's own files made of them.

The questions are those of the package evals (skywork_rt.checkpoints.samples has the file), which does not say their
subjects: the 50 shortest go to the first of four, and so on. The examples are those that lm-eval's flan_cot_fewshot has
for these subjects.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

SUBJECTS = ("anatomy", "astronomy", "high_school_psychology", "marketing")
EACH = 50

#: Question, A, B, C, D, answer: a line of MMLU's files.
Row = tuple[str, str, str, str, str, str]

_QUESTION = re.compile(r"(.*?)\n+A\. (.*?)\nB\. (.*?)\nC\. (.*?)\nD\. (.*?)\nAnswer:", re.DOTALL)
_EXAMPLE = re.compile(
    r"Q: (.*?)\n\(A\) (.*?) \(B\) (.*?) \(C\) (.*?) \(D\) (.*?)\nA: .*?The answer is \(([A-D])\)\.", re.DOTALL
)


def questions(samples: Path) -> dict[str, list[Row]]:
    """EACH questions of each subject: of all, the shortest, for the tests' sake."""
    rows: list[Row] = []
    for line in samples.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        match = _QUESTION.fullmatch(entry["question"])
        if match is not None:
            rows.append((*match.groups(), entry["answer"]))  # type: ignore[arg-type]  # five groups
    rows.sort(key=lambda row: sum(map(len, row)))
    return {subject: rows[EACH * i : EACH * (i + 1)] for i, subject in enumerate(SUBJECTS)}


def examples(prompts: Path) -> dict[str, list[Row]]:
    """The few-shot examples of each subject, out of _cot_prompts.json."""
    texts = json.loads(prompts.read_text(encoding="utf-8"))
    return {subject: [match.groups() for match in _EXAMPLE.finditer(texts[subject])] for subject in SUBJECTS}


def running_text(samples: Path) -> str:
    """A text to measure perplexity on: the first 6 questions, one behind the other."""
    lines = samples.read_text(encoding="utf-8").splitlines()[:6]
    return "\n\n".join(json.loads(line)["question"] for line in lines) + "\n"


def write_files(folder: Path, samples: Path, prompts: Path) -> Path:
    """dev/SUBJECT_dev.csv and test/SUBJECT_test.csv below `folder`, as in MMLU's data.tar."""
    for split, rows in (("dev", examples(prompts)), ("test", questions(samples))):
        (folder / split).mkdir(parents=True)
        for subject in SUBJECTS:
            with (folder / split / f"{subject}_{split}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows[subject])
    return folder
