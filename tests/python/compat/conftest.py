"""The recipe's tiny model, its graphs in MindFormers' layout, and what MindFormers itself says about it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from oracle_questions import questions  # noqa: E402
from recipe_model import RecipeModel, checkpoint_alone, state, write_recipe_model  # noqa: E402

from bundles import BACKENDS, bundle_of  # noqa: E402
from skywork_rt.compat import notices  # noqa: E402
from skywork_rt.compat.mindformers import LlamaTokenizer  # noqa: E402
from skywork_rt.compat.mindspore import context, seeds  # noqa: E402
from skywork_rt.support import environment  # noqa: E402


@pytest.fixture(scope="session")
def recipe_model(tmp_path_factory: pytest.TempPathFactory) -> RecipeModel:
    """A .ckpt, a YAML and a tokenizer.model."""
    return write_recipe_model(tmp_path_factory.mktemp("recipe-model"))


@pytest.fixture(scope="session")
def tokenizer(recipe_model: RecipeModel) -> LlamaTokenizer:
    return LlamaTokenizer(str(recipe_model.tokenizer))


@pytest.fixture(scope="session")
def native_bundle() -> Path:
    """The recipe's model with its weights in float32."""
    return bundle_of("recipe-tiny", checkpoint_alone, ("f32",), targets=("native",), state=state())


@pytest.fixture(scope="session")
def layout() -> Path:
    """The recipe's model in MindFormers' directories; skips where lite is not tested."""
    if "lite" not in BACKENDS:
        pytest.skip("SKYWORK_RT_TEST_BACKENDS leaves out lite")
    return bundle_of("recipe-tiny-layout", checkpoint_alone, (), targets=("lite",), layout="mindformers", state=state())


@pytest.fixture(scope="session")
def lite_bundle() -> Path:
    """The recipe's model with graphs for lite in Lite's own format, as export makes them unasked."""
    if "lite" not in BACKENDS:
        pytest.skip("SKYWORK_RT_TEST_BACKENDS leaves out lite")
    return bundle_of("recipe-tiny-lite", checkpoint_alone, (), targets=("lite",), state=state())


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for what is exported."""
    monkeypatch.setenv(environment.CACHE.name, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test hears warnings that come once a process, and has MindSpore's defaults."""
    monkeypatch.setattr(notices, "_said", set())
    monkeypatch.setattr(context, "_context", dict(context._context))
    monkeypatch.setattr(seeds, "_seed", None)


@pytest.fixture(scope="session")
def mindformers_says(recipe_model: RecipeModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answers of MindFormers 1.8.0 to `oracle_questions`, asked once a run by whichever process comes first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    answer = shared / "mindformers-answer.json"
    asked = questions(recipe_model)
    with (shared / "mindformers-answer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            _ask(asked, tmp_path_factory.mktemp("oracle"), answer)
    return {"asked": asked, **json.loads(answer.read_text(encoding="utf-8"))}


def _ask(asked: dict[str, Any], folder: Path, answer: Path) -> None:
    request, made = folder / "request.json", folder / "answer.json"
    request.write_text(json.dumps(asked, ensure_ascii=False), encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROTOCOL_BUFFERS")}
    command = [sys.executable, str(HERE / "oracle.py"), str(request), str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=clean, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    made.rename(answer)
