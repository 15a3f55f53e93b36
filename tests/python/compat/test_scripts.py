"""The recipe's three scripts run with other imports, and nothing else changed, in processes of their own."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from oracle_questions import MAX_LENGTH, PROMPT
from recipe_model import RecipeModel

from skywork_rt.support import environment

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent / "scripts"


def with_our_imports(name: str, folder: Path) -> Path:
    """A copy of the script with `skywork_rt.compat.` before what it imports; every other line is as it was."""
    lines = (SCRIPTS / name).read_text(encoding="utf-8").splitlines()
    changed = [re.sub(r"^from (mindformers|mindspore)\b", r"from skywork_rt.compat.\1", line) for line in lines]
    assert all(line.startswith("from ") for line, new in zip(lines, changed, strict=True) if line != new)
    assert lines != changed
    out = folder / name
    out.write_text("\n".join(changed) + "\n", encoding="utf-8")
    return out


def run_script(name: str, folder: Path, *words: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(with_our_imports(name, folder)), *words]
    where = {} if cache is None else {environment.CACHE.name: str(cache)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, **where}, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def model_words(model: RecipeModel, length: int) -> list[str]:
    return [str(model.checkpoint), str(model.config), str(model.tokenizer), PROMPT, str(length)]


def test_pipeline_and_generate(recipe_model: RecipeModel, tmp_path: Path, mindformers_says: dict[str, Any]) -> None:
    expected = mindformers_says["pipeline"][0]
    cache = tmp_path / "cache"
    first = run_script("pipeline.py", tmp_path, *model_words(recipe_model, MAX_LENGTH), cache=cache)
    assert ast.literal_eval(first.stdout) == expected
    assert f"is exported once, with weights f32, to {cache}" in first.stderr
    second = run_script("generate.py", tmp_path, *model_words(recipe_model, MAX_LENGTH), cache=cache)
    (text,) = ast.literal_eval(second.stdout)
    assert text.removeprefix("<s>") == expected[0]["text_generation_text"][0]
    assert "exported" not in second.stderr  # the bundle was there


def test_lite_inference(
    recipe_model: RecipeModel, layout: Path, tmp_path: Path, mindformers_says: dict[str, Any]
) -> None:
    (tmp_path / "context.cfg").write_text("[ascend_context]\nprovider=ge\n")
    words = ["--full_model_path", str(layout / "mindir_full_checkpoint/rank_0_graph.mindir")]
    words += ["--inc_model_path", str(layout / "mindir_inc_checkpoint/rank_0_graph.mindir")]
    words += ["--token_path", str(recipe_model.tokenizer), "--config_path", "context.cfg", "--seq_length", "128"]
    words += ["--max_length", str(MAX_LENGTH), "--batch_size", "2", "--loop", "2", "--device_id", "0"]
    done = run_script("run_skywork_infer_lite.py", tmp_path, *words)
    (expected,) = mindformers_says["pipeline"][0][0]["text_generation_text"]
    assert done.stdout == f"{expected}\n" * 4
    assert "target='Ascend' has no effect here" in done.stderr
    assert done.stderr.count("ge_config_path='context.cfg'") == 1
