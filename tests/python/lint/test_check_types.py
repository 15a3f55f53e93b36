"""mypy passes over files that it does not find; the check that counts them does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from check_types import missed, package_files


def test_both_halves_are_counted_and_deleted_and_ignored_files_are_not(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    kept = ["export/exporter.py", "python/skywork_rt/_core/__init__.pyi", "python/skywork_rt/errors.py"]
    for name in [*kept, "export/gone.py", "export/ignored.py", "export/notes.md", "tests/test_export.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    (tmp_path / "python/skywork_rt/export").symlink_to("../../export")
    subprocess.run(["git", "-C", tmp_path, "add", "export", "python"], check=True)
    (tmp_path / "export/gone.py").unlink()
    (tmp_path / "export/new.py").write_text("")
    assert package_files(tmp_path) == sorted([*kept, "export/new.py"])


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        ("Success: no issues found in 3 source files\n", 3),
        ("Success: no issues found in 1 source file\n", 1),
        ("a.py:1: error: no\nFound 2 errors in 1 file (checked 3 source files)\n", 3),
    ],
)
def test_a_half_that_mypy_did_not_find_is_a_mistake(answer: str, counted: int) -> None:
    assert missed(answer, ["file.py"] * counted) is None
    problem = missed(answer, ["file.py"] * (counted + 1))
    assert problem is not None and f"checked {counted} files" in problem and f"have {counted + 1}" in problem


def test_an_answer_without_a_count_is_a_mistake() -> None:
    assert missed("mypy: can't read file\n", ["file.py"]) is not None
