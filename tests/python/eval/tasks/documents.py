"""The documents of the local lm-eval tasks, read without any download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset


def _read() -> list[dict[str, Any]]:
    lines = (Path(__file__).parent / "facts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def facts(**_: Any) -> dict[str, Dataset]:
    """Every question, with its choices and the index of the right one."""
    return {"test": Dataset.from_list(_read())}


def first_facts(**_: Any) -> dict[str, Dataset]:
    """A few of them."""
    return {"test": Dataset.from_list(_read()[:12])}


def sentences(**_: Any) -> dict[str, Dataset]:
    """Three texts of many sentences."""
    asked = [f"{fact['question']} {fact['choices'][fact['answer']]}." for fact in _read()]
    return {"test": Dataset.from_list([{"text": " ".join(asked[start::3])} for start in range(3)])}
