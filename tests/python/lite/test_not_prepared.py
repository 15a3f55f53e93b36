"""Where MindSpore Lite is not prepared, whoever needs it names the command that prepares it, and prepares nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundles import BACKENDS

pytestmark = pytest.mark.skipif("lite" not in BACKENDS, reason="this build has no Lite backend")

OPEN = "import sys, skywork_rt; skywork_rt.Generator(sys.argv[1], backend='{backend}')"
FIND_TOOLS = "from skywork_rt.export.graph.tools import find_tools; find_tools()"


@pytest.fixture
def graphs_only(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that only Lite can run."""
    manifest = json.loads((tiny_bundle / "model.json").read_text(encoding="utf-8"))
    del manifest["weights"]
    bundle = tmp_path / "graphs-only"
    bundle.mkdir()
    for name in manifest["files"]:
        (bundle / name).symlink_to(tiny_bundle / name)
    (bundle / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    return bundle


@pytest.mark.parametrize(
    "command",
    [
        ["-c", OPEN.format(backend="lite"), "BUNDLE"],
        ["-c", OPEN.format(backend="auto"), "BUNDLE"],
        ["-m", "skywork_rt", "--debug", "generate", "BUNDLE", "Hello"],
        ["-c", FIND_TOOLS],
    ],
    ids=["lite", "auto", "generate", "export"],
)
def test_the_error_names_the_command_and_the_cache_stays_untouched(
    command: list[str], graphs_only: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    filled = [str(graphs_only) if word == "BUNDLE" else word for word in command]
    environment = {**os.environ, "SKYWORK_RT_CACHE": str(cache), "LITE_HOME": ""}
    done = subprocess.run(
        [sys.executable, *filled], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert done.returncode != 0
    assert "BackendUnavailableError" in done.stderr
    assert "skywork-rt lite install" in done.stderr
    assert list(cache.iterdir()) == []
